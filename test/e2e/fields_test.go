package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// fieldsOf has the fields that Jupyter's notebook format requires for each type of output.
var fieldsOf = map[string][]string{
	"stream":         {"name", "output_type", "text"},
	"display_data":   {"data", "metadata", "output_type"},
	"execute_result": {"data", "execution_count", "metadata", "output_type"},
	"error":          {"ename", "evalue", "output_type", "traceback"},
}

// emptyOutputs is code whose outputs have empty fields.
const emptyOutputs = `print()
display({}, raw=True)
display({'text/plain': ''}, raw=True)
get_ipython().displayhook.session.send(get_ipython().displayhook.pub_socket, 'execute_result', {'data': {'text/plain': 'r'}}, parent=get_ipython().parent_header)
class E(Exception): pass
E.__name__ = ''
raise E`

func TestOutputsHaveTheirEmptyFieldsInEveryAPI(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, emptyOutputs)
	base := "/v1/sessions/" + string(id)
	for name, path := range map[string]string{"cell": base + "/cells/" + string(c.ID), "cells": base + "/cells", "notebook": base + "/notebook"} {
		var answer struct {
			Outputs []map[string]any
			Cells   []struct{ Outputs []map[string]any }
		}
		s.get(t, path, &answer)
		outputs := answer.Outputs
		for _, cell := range answer.Cells {
			outputs = append(outputs, cell.Outputs...)
		}
		var types []string
		for _, o := range outputs {
			typ := o["output_type"].(string)
			types = append(types, typ)
			if got := slices.Sorted(maps.Keys(o)); !slices.Equal(got, fieldsOf[typ]) {
				t.Errorf("%s: %s has the fields %q, want %q", name, typ, got, fieldsOf[typ])
			}
		}
		if want := []string{"stream", "display_data", "display_data", "execute_result", "error"}; !slices.Equal(types, want) {
			t.Errorf("%s has the outputs %q, want %q", name, types, want)
		}
	}
	s.post(t, "/start_session", "application/x-www-form-urlencoded", "user_id=me")
	_, answer := s.post(t, "/execute", "application/json", `{"user_id":"me","code":"display({}, raw=True)"}`)
	if o, _ := json.Marshal(answer["outputs"]); string(o) != `[{"data":{},"metadata":{},"output_type":"display_data"}]` {
		t.Errorf("the article's API answers %s, want empty data and metadata", o)
	}
}

func TestEventsHaveTheirEmptyFields(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.run(t, id, emptyOutputs)
	var answer struct {
		Events []struct {
			Type    cellhold.EventType
			Content map[string]any
		}
	}
	s.get(t, "/v1/sessions/"+string(id)+"/events?after=0", &answer)
	want := map[cellhold.EventType][]string{
		cellhold.EventStream: {"name", "text"}, cellhold.EventDisplayData: {"data", "metadata", "transient"},
		cellhold.EventExecuteResult: {"data", "execution_count", "metadata"}, cellhold.EventError: {"ename", "evalue", "traceback"},
	}
	seen := 0
	for _, ev := range answer.Events {
		if fields := want[ev.Type]; fields != nil {
			seen++
			if got := slices.Sorted(maps.Keys(ev.Content)); !slices.Equal(got, fields) {
				t.Errorf("%s has the fields %q, want %q", ev.Type, got, fields)
			}
		}
	}
	if seen != 5 {
		t.Errorf("the events have %d outputs, want 5", seen)
	}
}

func TestValuesOfAWrongTypeInADisplayArriveAsText(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for code, want := range map[string]string{
		`{'text/plain': 42}`:                                   `{"text/plain":"42"}`,
		`{'text/plain': 1.5, 'text/html': True}`:               `{"text/html":"true","text/plain":"1.5"}`,
		`{'text/html': ['a', 1]}`:                              `{"text/html":"[\"a\",1]"}`,
		`{'text/html': ['a', 'b']}`:                            `{"text/html":"ab"}`,
		`{'text/latex': {'a': 1}}`:                             `{"text/latex":"{\"a\":1}"}`,
		`{'image/x': 5, 'text/markdown': None}`:                `{"image/x":"5"}`,
		`{1: 'x'}`:                                             `{"text/plain":"x"}`,
		`{1: 'x', ('a', 2): 3, None: 'n'}`:                     `{"text/plain":"('a', 2): 3\n1: x\nnull: n"}`,
		`{'html': '<b>', 'text/plain': 'y'}`:                   `{"text/plain":"y"}`,
		`{'text/x': str(float('nan')), 'application/json': 7}`: `{"application/json":7,"text/x":"nan"}`,
	} {
		c := s.run(t, id, "display("+code+", raw=True)")
		if len(c.Outputs) != 1 {
			t.Errorf("%s ended with %s: %d outputs, want 1", code, c.Status, len(c.Outputs))
			continue
		}
		if got, _ := json.Marshal(c.Outputs[0].Data); strings.ReplaceAll(string(got), ", ", ",") != strings.ReplaceAll(want, ", ", ",") {
			t.Errorf("%s arrives as %s, want %s", code, got, want)
		}
	}
	c := s.run(t, id, "display({f'text/x{i}': 'x' for i in range(30_000)} | {'a' * i: 1 for i in range(99)} | {'text/plain': 'all'}, raw=True); print('after')")
	if !strings.Contains(text(c), "after") || len(c.Outputs) != 2 || len(c.Outputs[0].Data) != 64 {
		t.Errorf("a bundle of 30,000 types ended with %s and %d outputs, want 2 outputs, and 64 types in the first", c.Status, len(c.Outputs))
	}
}

// get sends a GET request without the Go client, and decodes the JSON answer.
func (s *server) get(t *testing.T, path string, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: got status %s, %v; want 200", path, res.Status, err)
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
