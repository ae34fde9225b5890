package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/joho/godotenv"
)

// ReadDotEnv reads a .env file. A missing file is no values and no error; a broken one is a *[Error] that names the
// line and nothing of its content, which may be secret.
func ReadDotEnv(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, &Error{Problems: []Problem{{Setting: ".env", Text: "cannot be read: " + err.Error()}}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	values, err := godotenv.UnmarshalBytes(data)
	if err != nil {
		text := fmt.Sprintf("line %d: not of the form NAME=value", brokenLine(data))
		return nil, &Error{Problems: []Problem{{Setting: ".env", Text: text}}}
	}
	return values, nil
}

// brokenLine finds the line, counted from 1, at which a file stops to be readable. A quoted value may span lines, so
// that is the one after the longest readable beginning.
func brokenLine(data []byte) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	for n := len(lines) - 1; n > 0; n-- {
		if _, err := godotenv.UnmarshalBytes(bytes.Join(lines[:n], nil)); err == nil {
			return n + 1
		}
	}
	return 1
}

// Unknown returns a warning, one line each, for every GOCHAT_ variable among environ (as from os.Environ) and dotenv
// that is not in known. Variables that begin with GOCHAT_TEST_ belong to the tests.
func Unknown(environ []string, getenv func(string) string, dotenv map[string]string, known []string) []string {
	found := make(map[string]Source)
	for name := range dotenv {
		found[name] = DotEnv
	}
	for _, entry := range environ {
		// getenv is what the program reads; a name that it does not know is none of its business.
		if name, _, _ := strings.Cut(entry, "="); getenv(name) != "" {
			found[name] = Environment
		}
	}
	var warnings []string
	for name, source := range found {
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, prefix+"TEST_") || slices.Contains(known, name) {
			continue
		}
		text := fmt.Sprintf("%s (%s) is not a setting", name, source)
		if near := Nearest(name, known); near != "" {
			text += "; did you mean " + near + "?"
		}
		warnings = append(warnings, text)
	}
	slices.Sort(warnings)
	return warnings
}
