package console

import "testing"

func TestASizeIsReadWithAUnitAndWrittenInBinaryUnits(t *testing.T) {
	tests := []struct {
		in   string
		want Size
		back string
	}{
		{"0", 0, "0"}, {"1000", 1000, "1000"}, {"64k", 64 << 10, "64KiB"}, {"512M", 512 << 20, "512MiB"},
		{"1.5GiB", 3 << 29, "1536MiB"}, {"2 GB", 2 << 30, "2GiB"}, {"1T", 1 << 40, "1TiB"}, {"7B", 7, "7"},
	}
	for _, test := range tests {
		var got Size
		if err := got.UnmarshalText([]byte(test.in)); err != nil || got != test.want || got.String() != test.back {
			t.Errorf("%q: got %d (%s), %v; want %d (%s)", test.in, got, got, err, test.want, test.back)
		}
	}
	for _, bad := range []string{"", "M", "lots", "-1", "1X", "1KM", "9999999T", "NaN", "Inf"} {
		var got Size
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: got %d, want an error", bad, got)
		}
	}
}
