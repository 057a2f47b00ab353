package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// passedOn are the variables that pip also needs in the new system. Variables with paths of this host are not included.
var passedOn = []string{
	"http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_RETRIES", "PIP_TIMEOUT",
	"PIP_DEFAULT_TIMEOUT", "PIP_KEYRING_PROVIDER",
}

// writePipSettings copies the host's settings for the Python package index into the directory that the new system sees as
// /run/build: environment, configuration files and certificates. They do not become part of the image.
func writePipSettings(dir string, env []string) error {
	get := func(name string) string {
		value := ""
		for _, entry := range env {
			if key, v, _ := strings.Cut(entry, "="); key == name {
				value = v
			}
		}
		return value
	}
	settings := []string{"export PIP_DISABLE_PIP_VERSION_CHECK=1", "export XDG_CONFIG_DIRS=/run/build/xdg"}
	for _, key := range passedOn {
		if value := get(key); value != "" {
			settings = append(settings, "export "+key+"="+shellQuote(value))
		}
	}
	// The order is pip's. The host's bundle contains company-internal authorities, which the new system's does not.
	bundle, err := copyFirst(filepath.Join(dir, "ca.pem"), get("PIP_CERT"), get("REQUESTS_CA_BUNDLE"),
		get("CURL_CA_BUNDLE"), get("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		return err
	}
	if bundle {
		settings = append(settings, "export PIP_CERT=/run/build/ca.pem", "export SSL_CERT_FILE=/run/build/ca.pem")
	}
	if _, err := copyFirst(filepath.Join(dir, "xdg/pip/pip.conf"), "/etc/xdg/pip/pip.conf", "/etc/pip.conf"); err != nil {
		return err
	}
	user, err := copyFirst(filepath.Join(dir, "pip.conf"), userPipConfigs(get)...)
	if err != nil {
		return err
	}
	if user {
		settings = append(settings, "export PIP_CONFIG_FILE=/run/build/pip.conf")
	}
	return os.WriteFile(filepath.Join(dir, "env.sh"), []byte(strings.Join(settings, "\n")+"\n"), 0o600)
}

func userPipConfigs(get func(string) string) []string {
	configs := []string{get("PIP_CONFIG_FILE")}
	if xdg := get("XDG_CONFIG_HOME"); xdg != "" {
		configs = append(configs, filepath.Join(xdg, "pip/pip.conf"))
	}
	if home := get("HOME"); home != "" {
		configs = append(configs, filepath.Join(home, ".config/pip/pip.conf"), filepath.Join(home, ".pip/pip.conf"))
	}
	return slices.DeleteFunc(configs, func(c string) bool { return c == os.DevNull })
}

// copyFirst copies the first existing file, and reports whether there was one.
func copyFirst(to string, from ...string) (bool, error) {
	for _, file := range from {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return false, err
		}
		return true, os.WriteFile(to, data, 0o600)
	}
	return false, nil
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
