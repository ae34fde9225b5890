package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

var update = flag.Bool("update", false, "write .env.example and the tables of docs/configuration.md")

// TestGenerated keeps .env.example and docs/configuration.md equal to the declarations of the settings.
func TestGenerated(t *testing.T) {
	t.Parallel()
	sets := allSets()
	for _, line := range config.Conflicts(sets) {
		t.Error(line)
	}
	root := filepath.Join("..", "..")
	checkFile(t, filepath.Join(root, ".env.example"), func([]byte) ([]byte, error) { return config.Example(sets), nil })
	checkFile(t, filepath.Join(root, "docs", "configuration.md"), func(old []byte) ([]byte, error) {
		text, err := config.Splice(old, "settings", config.Table(sets))
		if err != nil {
			return nil, err
		}
		return config.Splice(text, "old names", config.OldNamesTable())
	})
}

// TestOldNamesLeadSomewhere keeps the table of earlier names free of variables that nobody reads.
func TestOldNamesLeadSomewhere(t *testing.T) {
	t.Parallel()
	known := make(map[string]bool)
	for _, name := range knownVariables() {
		known[name] = true
	}
	for _, o := range config.OldNames() {
		if !known[o.New] {
			t.Errorf("%s leads to %s, which no command reads", o.Old, o.New)
		}
	}
}

func checkFile(t *testing.T, path string, generate func(old []byte) ([]byte, error)) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil && !(*update && os.IsNotExist(err)) {
		t.Fatal(err)
	}
	want, err := generate(old)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if bytes.Equal(old, want) {
		return
	}
	if !*update {
		t.Errorf("%s is not what the settings say: go test ./cmd/gochat -run TestGenerated -update", path)
		return
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
}
