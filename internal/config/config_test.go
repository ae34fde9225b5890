package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env makes a getenv of pairs.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		args   []string
		env    []string
		dotenv map[string]string
		want   string
		source config.Source
		origin string
	}{
		{"default", nil, nil, nil, "built in", config.Default, "--greeting"},
		{".env beats default", nil, nil, map[string]string{"GOCHAT_GREETING": "file"}, "file", config.DotEnv, "GOCHAT_GREETING"},
		{
			"environment beats .env", nil, []string{"GOCHAT_GREETING", "env"}, map[string]string{"GOCHAT_GREETING": "file"},
			"env", config.Environment, "GOCHAT_GREETING",
		},
		{
			"flag beats environment", []string{"--greeting", "flag"}, []string{"GOCHAT_GREETING", "env"}, nil,
			"flag", config.Flag, "--greeting",
		},
		{"an empty variable is not set", nil, []string{"GOCHAT_GREETING", ""}, map[string]string{"GOCHAT_GREETING": ""}, "built in", config.Default, "--greeting"},
		{"an empty flag is set", []string{"--greeting="}, []string{"GOCHAT_GREETING", "env"}, nil, "", config.Flag, "--greeting"},
		{
			"the command's own variable beats the common one", nil,
			[]string{"GOCHAT_GREETING", "all", "GOCHAT_TEST_GREETING", "own"}, nil, "own", config.Environment, "GOCHAT_TEST_GREETING",
		},
		{
			"the common variable of the environment beats the own one of .env", nil, []string{"GOCHAT_GREETING", "all"},
			map[string]string{"GOCHAT_TEST_GREETING": "own"}, "all", config.Environment, "GOCHAT_GREETING",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := config.New("test")
			got := s.String("greeting", "built in", "", config.PerCommand())
			if _, err := s.Parse(tt.args, env(tt.env...), tt.dotenv); err != nil {
				t.Fatal(err)
			}
			if *got != tt.want || s.Source("greeting") != tt.source || s.Origin("greeting") != tt.origin {
				t.Errorf("got %q from %s (%s), want %q from %s (%s)",
					*got, s.Source("greeting"), s.Origin("greeting"), tt.want, tt.source, tt.origin)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	s := config.New("test")
	b := s.Bool("b", false, "")
	i := s.Int("i", 0, "")
	i64 := s.Int64("i64", 0, "")
	f := s.Float("f", 0, "")
	d := s.Duration("d", 0, "")
	size := s.Size("size", 0, "")
	args := []string{"--b", "--i", "-5", "--i64=9007199254740993", "-f", "0.5", "--d", "1m30s", "--size", "2 MiB"}
	if _, err := s.Parse(args, env(), nil); err != nil {
		t.Fatal(err)
	}
	if !*b || *i != -5 || *i64 != 9007199254740993 || *f != 0.5 || *d != 90*time.Second || *size != 2<<20 {
		t.Errorf("got %v %v %v %v %v %v", *b, *i, *i64, *f, *d, *size)
	}
}

func TestSwitches(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"true": true, "1": true, "YES": true, "on": true, "false": false, "0": false, "no": false, "off": false} {
		s := config.New("test")
		got := s.Bool("b", !want, "")
		if _, err := s.Parse(nil, env("GOCHAT_B", text), nil); err != nil || *got != want {
			t.Errorf("%q: got %v, %v, want %v", text, *got, err, want)
		}
	}
}

func TestWordsAndFlagsMix(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args string
		want []string
		id   string
		json bool
	}{
		{"room hello --id x", []string{"room", "hello"}, "x", false},
		{"--id x room hello", []string{"room", "hello"}, "x", false},
		{"room --json hello", []string{"room", "hello"}, "", true},
		{"room --json=false hello", []string{"room", "hello"}, "", false},
		{"room -- --id x", []string{"room", "--id", "x"}, "", false},
		{"room -", []string{"room", "-"}, "", false},
		{"room --id - -", []string{"room", "-"}, "-", false},
		{"room --id=--json", []string{"room"}, "--json", false},
		{"--id a --id b", []string{}, "b", false},
		{"", []string{}, "", false},
	}
	for _, tt := range tests {
		s := config.New("send")
		id := s.String("id", "", "", config.FlagOnly())
		asJSON := s.Bool("json", false, "", config.FlagOnly())
		got, err := s.Parse(strings.Fields(tt.args), env("GOCHAT_ID", "not read"), nil)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || *id != tt.id || *asJSON != tt.json {
			t.Errorf("%q: id %q, json %v, words (-want +got):\n%s", tt.args, *id, *asJSON, diff)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	s := config.New("test")
	s.String("listen", ":80", "", config.Check(config.ListenAddress))
	s.Int("count", 1, "")
	s.Duration("pause", time.Second, "", config.Check(config.PositiveDuration))
	s.String("id", "", "")
	cert, key := s.String("cert", "", ""), s.String("key", "", "")
	s.Together("cert", "key", cert, key)
	_, err := s.Parse([]string{"--lisen", ":1", "--count=many", "--cert", "x", "--id"},
		env("GOCHAT_LISTEN", "nowhere"), map[string]string{"GOCHAT_PAUSE": "0s"})
	var all *config.Error
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want a *config.Error", err)
	}
	var got []string
	for _, p := range all.Problems {
		got = append(got, p.String())
	}
	want := []string{
		"--lisen (flag): no such flag; did you mean --listen?",
		"--id (flag): needs a value: --id TEXT",
		`GOCHAT_LISTEN (environment): "nowhere" is not an address like 127.0.0.1:8080 or :8080`,
		`--count (flag): "many" is not a whole number`,
		"GOCHAT_PAUSE (.env): 0s must be longer than 0",
		"--cert (flag): needs --key beside it",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestHelpIsNoMistake(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"-h", "-help", "--help"} {
		s := config.New("test")
		if _, err := s.Parse([]string{"--nonsense", flag}, env(), nil); !errors.Is(err, config.ErrHelp) {
			t.Errorf("%s: got %v, want ErrHelp", flag, err)
		}
	}
	s := config.New("test")
	if _, err := s.Parse([]string{"--", "-h"}, env(), nil); err != nil {
		t.Errorf("after --: got %v, want no error", err)
	}
}

func TestAMistakeThatIsOverruledDoesNotCount(t *testing.T) {
	t.Parallel()
	s := config.New("test")
	n := s.Int("n", 0, "")
	if _, err := s.Parse([]string{"--n", "3"}, env("GOCHAT_N", "many"), nil); err != nil || *n != 3 {
		t.Errorf("got %d, %v, want 3", *n, err)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	const secret = "geheim"
	for _, value := range []string{
		"postgres://u:geheim@", "mysql://u:geheim@host/db", "postgres://u:geheim%zz@host/db", "postgres://u:a/geheim@host:x/db",
		"host=localhost password=geheim", "postgres://u:x:geheim@host:99999/db", "geheim",
	} {
		s := config.New("test")
		s.String("database-url", "", "", config.Env("DATABASE_URL"), config.Check(config.URL("postgres", "postgresql")))
		s.Int("pin", 0, "", config.Secret())
		_, err := s.Parse(nil, env("DATABASE_URL", value, "GOCHAT_PIN", "geheim"), nil)
		if err == nil {
			t.Errorf("%q was accepted", value)
			continue
		}
		if strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "DATABASE_URL (environment): ") {
			t.Errorf("%q: got error %q", value, err)
		}
	}
}

func TestMask(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://u:geheim@host/db?sslmode=disable&password=geheim": "postgres://u:xxxxx@host/db?password=xxxxx&sslmode=disable",
		"amqp://guest:geheim@host:5672/":                              "amqp://guest:xxxxx@host:5672/",
		"wss://chat.example/ws":                                       "wss://chat.example/ws",
		"host=localhost password=geheim":                              "xxxxx",
		"postgres://u:geheim%zz@host":                                 "xxxxx",
	} {
		if got := config.Mask(text); got != want {
			t.Errorf("Mask(%q) = %q, want %q", text, got, want)
		}
	}
}
