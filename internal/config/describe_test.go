package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func describedSets() []*config.Set {
	one, two := config.New("one"), config.New("two")
	for _, s := range []*config.Set{one, two} {
		s.String("database-url", "postgres://localhost/db", "the database", config.Env("DATABASE_URL"), config.Value("URL"))
		s.String("listen", ":1", "where to listen", config.PerCommand())
	}
	one.String("greeting", "it's $5 # really", "said to everybody | once")
	one.String("token", "hidden", "who we are", config.Secret())
	two.Duration("pause", 10*time.Minute, "time between two")
	two.Size("room", 1<<20, "bytes")
	two.Int64("after", 0, "an argument", config.FlagOnly())
	two.Bool("quiet", false, "says nothing")
	return []*config.Set{one, two}
}

func TestTheExampleGivesTheDefaults(t *testing.T) {
	t.Parallel()
	text := string(config.Example(describedSets()))
	path := filepath.Join(t.TempDir(), ".env")
	mustWrite(t, path, strings.ReplaceAll(text, "# GOCHAT_", "GOCHAT_"))
	got, err := config.ReadDotEnv(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"DATABASE_URL": "postgres://localhost/db", "GOCHAT_ONE_LISTEN": ":1", "GOCHAT_TWO_LISTEN": ":1",
		"GOCHAT_GREETING": "it's $5 # really", "GOCHAT_TOKEN": "", "GOCHAT_PAUSE": "10m", "GOCHAT_ROOM": "1MiB", "GOCHAT_QUIET": "false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s\n%s", diff, text)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := string(config.Table(describedSets()))
	for _, want := range []string{
		"| `DATABASE_URL` | `--database-url` | one, two | `postgres://localhost/db` | the database |\n",
		"| `GOCHAT_TWO_LISTEN`, else `GOCHAT_LISTEN` | `--listen` | two | `:1` | where to listen |\n",
		"| said to everybody \\| once |\n",
		"| `GOCHAT_TOKEN` | `--token` | one |  | who we are |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "--after") {
		t.Error("an argument of one call has no variable, and no line")
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	if got := config.Conflicts(describedSets()); got != nil {
		t.Errorf("got %q, want none", got)
	}
	one, two := config.New("one"), config.New("two")
	one.Int("n", 1, "a number")
	two.Int("n", 2, "a number")
	want := []string{"GOCHAT_N: one and two differ in default or help"}
	if diff := cmp.Diff(want, config.Conflicts([]*config.Set{one, two})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteHelp(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := describedSets()[1].WriteHelp(&b); err != nil {
		t.Fatal(err)
	}
	want := `  --database-url URL
        the database (default postgres://localhost/db)
        DATABASE_URL
  --listen TEXT
        where to listen (default :1)
        GOCHAT_TWO_LISTEN, else GOCHAT_LISTEN
  --pause TIME
        time between two (default 10m)
        GOCHAT_PAUSE
  --room SIZE
        bytes (default 1MiB)
        GOCHAT_ROOM
  --after N
        an argument
  --quiet
        says nothing
        GOCHAT_QUIET
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSplice(t *testing.T) {
	t.Parallel()
	doc := "head\n<!-- generated: x -->\nold\n<!-- end: x -->\ntail\n"
	got, err := config.Splice([]byte(doc), "x", []byte("new\n"))
	if want := strings.Replace(doc, "old", "new", 1); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := config.Splice([]byte(doc), "y", nil); err == nil {
		t.Error("a name that is not there was accepted")
	}
}
