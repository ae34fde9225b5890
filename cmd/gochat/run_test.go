package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func TestHelpTellsOfEveryCommand(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}, {"help", "help"}} {
		out, _, err := call(t, nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands() {
			if c.hidden {
				continue
			}
			if !strings.Contains(out, "  "+c.name+" ") || !strings.Contains(out, c.summary) {
				t.Errorf("%q: nothing of %s in\n%s", args, c.name, out)
			}
		}
	}
	for _, c := range commands() {
		first, _, err := call(t, nil, "help", c.name)
		if err != nil {
			t.Fatal(err)
		}
		second, _, err := call(t, map[string]string{"GOCHAT_HEARTBEAT": "nonsense"}, c.name, "--nonsense", "-h")
		if err != nil || first != second || !strings.HasPrefix(first, "gochat "+c.name+": "+c.summary) {
			t.Errorf("%s: got error %v, help %q and %q", c.name, err, first, second)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"", "which command? gochat help tells them"},
		{"nonsense", `no command "nonsense"; gochat help tells them`},
		{"migrat up", `no command "migrat"; did you mean migrate?`},
		{"hepl", `no command "hepl"; did you mean help?`},
		{"help nonsense", `no command "nonsense"; gochat help tells them`},
		{"help up down", "help takes one command, not 2 words"},
		{"migrate", "migrate takes one word: up, down or status"},
		{"migrate sideways", `migrate takes up, down or status, not "sideways"`},
		{"up now", `up takes no words: "now"`},
		{"chatroom now", `chatroom takes no words: "now"`},
		{"persister now", `persister takes no words: "now"`},
		{"gencert localhost", `gencert takes no words: "localhost" (did you mean --host localhost?)`},
		{"gencert --host a_b --days 0", `--host (flag): "a_b" is neither a host name nor an IP address; --days (flag): 0 is out of bounds: from 1 to 3650`},
		{"version now", `version takes no words: "now"`},
		{"chatroom --tls-cert x", "--tls-cert (flag): needs --tls-key beside it"},
	} {
		_, _, err := call(t, nil, strings.Fields(tt.args)...)
		if err == nil || err.Error() != tt.want || exitCode(err) != 2 {
			t.Errorf("%q: got %v with code %d, want %q with code 2", tt.args, err, exitCode(err), tt.want)
		}
	}
}

func TestReportIsOneLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
		code int
	}{
		{nil, "", 0},
		{errors.Join(errors.New("one"), errors.New("two")), "gochat: one two\n", 1},
		{fmt.Errorf("send: %w", context.Canceled), "gochat: interrupted\n", 1},
		{usagef("no %s", "words"), "gochat: no words\n", 2},
		{&config.Error{Problems: []config.Problem{{Setting: "--a", Source: config.Flag, Text: "b"}, {Setting: ".env", Text: "c"}}}, "gochat: --a (flag): b\ngochat: .env: c\n", 2},
	} {
		var b strings.Builder
		report(&b, tt.err)
		if b.String() != tt.want || exitCode(tt.err) != tt.code {
			t.Errorf("%v: got %q and code %d, want %q and %d", tt.err, b.String(), exitCode(tt.err), tt.want, tt.code)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	out, _, err := call(t, nil, "version")
	if err != nil || !strings.HasPrefix(out, "gochat ") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q, %v", out, err)
	}
	out, _, err = call(t, nil, "--version", "--json")
	var info buildInfo
	if err != nil || json.Unmarshal([]byte(out), &info) != nil || info.Version == "" || info.Go == "" || info.Platform == "" {
		t.Errorf("got %q, %v", out, err)
	}
}

// A folder of its own: these tests have a .env file, so they cannot run beside the others.
func TestDotEnvIsReadInTheWorkingFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	mustWriteFile(t, ".env", "GOCHAT_SEND_BURST=none\nGOCHAT_SEND_BRUST=1\n")
	_, _, err := call(t, map[string]string{"GOCHAT_SEND_RATE": "much"}, "chatroom", "--heartbeat", "soon")
	want := `--heartbeat (flag): "soon" is not a length of time like 25s or 1m30s`
	for _, part := range []string{
		want, `GOCHAT_SEND_RATE (environment): "much" is not a number`, `GOCHAT_SEND_BURST (.env): "none" is not a whole number`,
	} {
		if err == nil || !strings.Contains(err.Error(), part) || exitCode(err) != 2 {
			t.Errorf("got %v, want %q", err, part)
		}
	}
	if os.Getenv("GOCHAT_SEND_BRUST") != "" {
		t.Error(".env was put into the environment")
	}
	// Commands whose settings have no variables do not care for the file.
	mustWriteFile(t, ".env", "geheim geheim\n")
	if _, _, err := call(t, nil, "version"); err != nil {
		t.Errorf("version: %v", err)
	}
	if _, _, err := call(t, nil, "migrate", "-h"); err != nil {
		t.Errorf("help: %v", err)
	}
	_, _, err = call(t, nil, "migrate", "status")
	if err == nil || err.Error() != ".env: line 1: not of the form NAME=value" || exitCode(err) != 2 {
		t.Errorf("got %v with code %d", err, exitCode(err))
	}
}

func TestVariablesThatNobodyReadsGetAWarning(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GOCHAT_SEND_RTAE", "1")
	mustWriteFile(t, ".env", "GOCHAT_SEND_BRUST=1\n")
	vars := map[string]string{"GOCHAT_SEND_RTAE": "1", "POSTGRES_DB": "chat"}
	_, stderr, _ := call(t, vars, "migrate", "sideways")
	want := "gochat: warning: GOCHAT_SEND_BRUST (.env) is not a setting; did you mean GOCHAT_SEND_BURST?\n" +
		"gochat: warning: GOCHAT_SEND_RTAE (environment) is not a setting; did you mean GOCHAT_SEND_RATE?\n" +
		"gochat: warning: POSTGRES_DB is not read any more: set DATABASE_URL\n"
	if stderr != want {
		t.Errorf("got %q, want %q", stderr, want)
	}
}

func mustWriteFile(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}
