package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func TestReadDotEnv(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".env")
	if got, err := config.ReadDotEnv(path); len(got) != 0 || err != nil {
		t.Errorf("missing file: got %v, %v, want nothing", got, err)
	}
	text := "\xef\xbb\xbf# a comment\r\nGOCHAT_A=1\r\nexport GOCHAT_B=\"two words\" # more\nGOCHAT_C='$literal'\n"
	mustWrite(t, path, text)
	got, err := config.ReadDotEnv(path)
	want := map[string]string{"GOCHAT_A": "1", "GOCHAT_B": "two words", "GOCHAT_C": "$literal"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, values (-want +got):\n%s", err, diff)
	}
	if os.Getenv("GOCHAT_A") != "" {
		t.Error("the file was put into the environment of the process")
	}
}

func TestABrokenDotEnvNamesItsLineAndNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		text string
		line string
	}{
		"no equals sign":   {"GOCHAT_A=1\n\ngeheim geheim\n", "line 3"},
		"open quote":       {"GOCHAT_A=\"geheim\n", "line 1"},
		"after many lines": {"GOCHAT_A=\"1\n2\"\nB!=geheim\n", "line 3"},
	} {
		path := filepath.Join(dir, name)
		mustWrite(t, path, tt.text)
		_, err := config.ReadDotEnv(path)
		if err == nil || !strings.Contains(err.Error(), ".env: "+tt.line) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: got %v, want %s and no content", name, err, tt.line)
		}
	}
	if _, err := config.ReadDotEnv(dir); err == nil || !strings.Contains(err.Error(), ".env: cannot be read") {
		t.Errorf("a folder: got %v", err)
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	got := config.Unknown(
		[]string{"GOCHAT_LISTEN=:1", "GOCHAT_LISTN=:1", "GOCHAT_TEST_DATABASE_URL=x", "PATH=/bin", "GOCHAT_HIDDEN=x"},
		env("GOCHAT_LISTEN", ":1", "GOCHAT_LISTN", ":1", "GOCHAT_TEST_DATABASE_URL", "x", "PATH", "/bin"),
		map[string]string{"GOCHAT_COLOUR": "red", "OTHER": "x"},
		[]string{"GOCHAT_LISTEN"},
	)
	want := []string{
		"GOCHAT_COLOUR (.env) is not a setting",
		"GOCHAT_LISTN (environment) is not a setting; did you mean GOCHAT_LISTEN?",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestOldNameWarnings(t *testing.T) {
	t.Parallel()
	declare := func() *config.Set {
		s := config.New("chatroom")
		s.String("listen", ":8080", "", config.PerCommand())
		s.String("database-url", "", "", config.Env("DATABASE_URL"))
		s.String("tls-cert", "", "")
		return s
	}
	tests := []struct {
		name   string
		args   []string
		env    []string
		dotenv map[string]string
		want   []string
	}{
		{"none", nil, nil, nil, nil},
		{
			"old ones", nil, []string{"SERVER_PORT", "80", "POSTGRES_USER", "a", "IS_TLS", "true"},
			map[string]string{"POSTGRES_DB": "b"},
			[]string{
				"SERVER_PORT is not read any more: set GOCHAT_CHATROOM_LISTEN",
				"IS_TLS is not read any more: set GOCHAT_TLS_CERT",
				"POSTGRES_USER, POSTGRES_DB are not read any more: set DATABASE_URL",
			},
		},
		{"the new one by flag", []string{"--listen", ":1"}, []string{"SERVER_PORT", "80"}, nil, nil},
		{"the new one by its common variable", nil, []string{"SERVER_PORT", "80", "GOCHAT_LISTEN", ":1"}, nil, nil},
		{"a switch that was off", nil, []string{"IS_TLS", "false"}, nil, nil},
		{"not a setting of this command", nil, []string{"MESSAGE_SERVICE_PORT", "80", "SERVER_URL", "x"}, nil, nil},
	}
	for _, tt := range tests {
		s := declare()
		if _, err := s.Parse(tt.args, env(tt.env...), tt.dotenv); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, s.OldNameWarnings()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func mustWrite(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}
