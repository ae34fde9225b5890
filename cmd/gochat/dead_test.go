package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// declareTopology makes it as a service does at its start.
func declareTopology(t *testing.T, topology events.Topology) {
	t.Helper()
	tr, err := bus.DialAMQP(t.Context(), bus.AMQPConfig{URL: rabbit.URL(t), Topology: topology})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	rabbit.Eventually(t, "transport ready", func() bool { return tr.Ready() == nil })
}

// plantLetters puts letters into a poison queue of the test's own: two events and one that is no JSON.
func plantLetters(t *testing.T) (flags []string, topology events.Topology) {
	t.Helper()
	topology = rabbit.Topology(t)
	declareTopology(t, topology)
	ch := rabbit.Channel(t, rabbit.URL(t))
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for _, l := range []struct{ id, body, reason, seen string }{
		{"ops/1", string(bustest.MessageSent(t, "ops", 1)), "too \x1b[2J long", "2026-01-02T15:04:05.678Z"},
		{"dev/2", string(bustest.MessageSent(t, "dev", 2)), persister.ErrConflict.Error(), "2026-01-03T00:00:00Z"},
		{"m-7", "no JSON", "malformed event", "2026-01-04T00:00:00Z"},
	} {
		c, err := ch.PublishWithDeferredConfirm(topology.DeadLetterExchange(), topology.MessageSentQueue(), true, false, amqp.Publishing{
			ContentType: events.ContentType, MessageId: l.id, DeliveryMode: amqp.Persistent, Body: []byte(l.body),
			Headers: amqp.Table{bus.HeaderReason: l.reason, bus.HeaderFirstSeen: l.seen, bus.HeaderAttempts: "2", bus.HeaderTopic: "message.sent.1"},
		})
		if err != nil || !c.Wait() {
			t.Fatalf("plant %s: %v", l.id, err)
		}
	}
	return []string{"--rabbitmq-url", rabbit.URL(t), "--rabbitmq-prefix", topology.Prefix}, topology
}

func TestDeadListShowsAndFilters(t *testing.T) {
	t.Parallel()
	flags, _ := plantLetters(t)
	for _, tt := range []struct {
		args string
		want []string // ids of the letters
	}{
		{"list", []string{"ops/1", "dev/2", "m-7"}},
		{"show", []string{"ops/1", "dev/2", "m-7"}},
		{"list --room dev", []string{"dev/2"}},
		{"list --reason LONG", []string{"ops/1"}},
		{"list --id id-dev-2", []string{"dev/2"}},
		{"list --event ops/1", []string{"ops/1"}},
		{"list --after 2026-01-03", []string{"dev/2", "m-7"}},
		{"list --before 2026-01-03", []string{"ops/1"}},
		{"list --before 2020-01-01", nil},
		{"list --limit 2", []string{"ops/1", "dev/2"}},
		{"list --room ops --reason malformed", nil},
	} {
		out, stderr, err := call(t, nil, append(append([]string{"dead"}, strings.Fields(tt.args+" --json")...), flags...)...)
		if err != nil {
			t.Fatalf("%s: %v", tt.args, err)
		}
		var got []string
		for line := range strings.Lines(out) {
			var l letterJSON
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%s: %v in %q", tt.args, err, line)
			}
			got = append(got, l.EventID)
			if shows := strings.HasPrefix(tt.args, "show"); strings.Contains(line, "hello") != (shows && l.EventID != "m-7") {
				t.Errorf("%s: the text is shown by show only: %s", tt.args, line)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) || !strings.Contains(stderr, fmt.Sprintf("%d of 3 letters", len(tt.want))) {
			t.Errorf("%s: got %v and %q, want %v", tt.args, got, stderr, tt.want)
		}
	}
	out, _, err := call(t, nil, append([]string{"dead", "list"}, flags...)...)
	if err != nil || !strings.Contains(out, "ops #1 id-ops-1 from ann: too \uFFFD[2J long\n") || strings.Contains(out, "hello") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestDeadIsDryUntilYes(t *testing.T) {
	t.Parallel()
	flags, topology := plantLetters(t)
	dead := func(args ...string) string {
		t.Helper()
		out, _, err := call(t, nil, append(append([]string{"dead"}, args...), flags...)...)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return out
	}
	before := dead("list")
	for args, want := range map[string][]string{
		"replay":     {"replay  ", "comes back, unless", "no readable event: malformed event (it would come back: malformed event: invalid", "would replay 2 letters; --yes does it; 1 letter would come back"},
		"drop --all": {"drop    ", "would drop 3 letters; --yes does it\n"},
	} {
		out := dead(strings.Fields(args)...)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", args, w, out)
			}
		}
	}
	if after := dead("list"); after != before {
		t.Errorf("a dry run changed the queue:\n%s\n%s", before, after)
	}
	if out := dead("replay", "--yes"); !strings.Contains(out, "replayed 2 letters; 1 letter would come back") {
		t.Errorf("replay: got %q", out)
	}
	state, err := rabbit.Channel(t, rabbit.URL(t)).QueueDeclarePassive(topology.MessageSentQueue(), true, false, false, false, nil)
	if err != nil || state.Messages != 2 {
		t.Errorf("the persister's queue has %d messages, %v, want 2", state.Messages, err)
	}
	var l letterJSON
	if err := json.Unmarshal([]byte(dead("show", "--json")), &l); err != nil || l.Body != "no JSON" || l.Malformed == "" {
		t.Errorf("left: %+v, %v", l, err)
	}
	if out := dead("drop", l.Key, "--yes"); out != "dropped 1 letter\n" {
		t.Errorf("drop: got %q", out)
	}
	if out := dead("list"); out != "" {
		t.Errorf("left: %q", out)
	}
}

// A letter in whose place another event is stored is all that is left of its message, if that was accepted.
func TestDeadDropsNoOnlyCopyByTheWay(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.declare()
	in.accept(store.NewPostgres(in.pool), outbox.Postgres{Pool: in.pool}, 2, "ops")
	ch := rabbit.Channel(t, rabbit.URL(t))
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for seq, id := range map[int64]string{2: "ops-1", 9: "foreign"} {
		raw, err := events.MessageSent{Room: "ops", Seq: seq, Kind: "message", ID: id, From: "ann", Text: "text", SentAt: time.Now().UTC()}.Encode("")
		if err != nil {
			t.Fatal(err)
		}
		c, err := ch.PublishWithDeferredConfirm(in.topology.DeadLetterExchange(), in.topology.MessageSentQueue(), true, false, amqp.Publishing{
			ContentType: events.ContentType, MessageId: events.EventID("ops", seq), Body: raw, Headers: amqp.Table{bus.HeaderReason: persister.ErrConflict.Error()},
		})
		if err != nil || !c.Wait() {
			t.Fatalf("plant a letter: %v", err)
		}
	}
	dead := func(args string) string {
		t.Helper()
		out, _, err := call(t, nil, append(append([]string{"dead"}, strings.Fields(args)...), in.flags...)...)
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		return out
	}
	out := dead("drop --room ops --yes")
	if !strings.Contains(out, "ops-1 from ann") || !strings.Contains(out, "the only copy of an accepted message, in whose place") ||
		!strings.Contains(out, "dropped 1 letter; 1 letter stays") {
		t.Errorf("by a filter: got %q", out)
	}
	if list := dead("list"); strings.Count(list, "\n") != 1 || !strings.Contains(list, "ops-1 from ann") {
		t.Errorf("left: %q", list)
	}
	own := in.flags
	in.flags = append(in.flags, "--database-url", "postgres://ann:geheim@127.0.0.1:1/x")
	if out := dead("drop --room ops"); !strings.Contains(out, "stays ") || !strings.Contains(out, "may be the only copy of an accepted message: ") || strings.Contains(out, "geheim") {
		t.Errorf("without the database: got %q", out)
	}
	in.flags = own
	if out := dead("drop --all --yes"); !strings.Contains(out, "drop    ") || !strings.Contains(out, "the only copy") || !strings.Contains(out, "dropped 1 letter\n") {
		t.Errorf("all: got %q", out)
	}
}

func TestDeadNamesUnknownKeys(t *testing.T) {
	t.Parallel()
	flags, _ := plantLetters(t)
	for _, args := range []string{"list nokey", "show nokey", "replay nokey --yes", "drop nokey --yes"} {
		_, _, err := call(t, nil, append(append([]string{"dead"}, strings.Fields(args)...), flags...)...)
		if exitCode(err) != 1 || !strings.Contains(err.Error(), "no letter nokey") {
			t.Errorf("%s: got %v", args, err)
		}
	}
	out, stderr, err := call(t, nil, append([]string{"dead", "show"}, flags...)...)
	if err != nil || strings.Contains(out, "event       \n") || strings.Count(out, "  event       ") != 3 {
		t.Errorf("got %q, %q, %v", out, stderr, err)
	}
	if _, stderr, err := call(t, nil, "dead", "list", "--rabbitmq-url", rabbit.URL(t), "--rabbitmq-prefix", "nobody."); err == nil || strings.Contains(stderr, "letters") {
		t.Errorf("no queue: got %q, %v", stderr, err)
	}
}

func TestDeadTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "dead takes a word: list, show, replay or drop"},
		{"lst", 2, `not "lst"`},
		{"list --yes", 2, "dead list changes nothing"},
		{"drop --yes", 2, "say --all"},
		{"list --event ops", 2, `"ops" is no event, such as ops/44`},
		{"list --event /4", 2, "is no event"},
		{"list --after yesterday", 2, `"yesterday" is neither a time`},
		{"list --data missing", 1, "--data: missing is not a folder"},
		{"list --rabbitmq-url amqp://a:secret@127.0.0.1:1/", 1, "is RabbitMQ running?"},
		{"list --rabbitmq-prefix nobody. --rabbitmq-url " + rabbit.URL(t), 1, "is the prefix right"},
	} {
		_, _, err := call(t, nil, append([]string{"dead"}, strings.Fields(tt.args)...)...)
		if exitCode(err) != tt.code || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v (exit code %d), want %q", tt.args, err, exitCode(err), tt.want)
		}
	}
}

// What up refuses for good is in its folder: visible beside it, and to be worked on when it has ended.
func TestDeadLettersOfAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, err := call(t, nil, "dead", "drop", "--all", "--yes", "--data", dir); err == nil || !strings.Contains(err.Error(), "did gochat up ever run there?") {
		t.Errorf("empty folder: got %v", err)
	}
	if made, err := filepath.Glob(filepath.Join(dir, "*.db*")); err != nil || len(made) > 0 {
		t.Errorf("empty folder: made %q, %v", made, err)
	}
	if _, _, err := call(t, nil, "migrate", "up", "--data", dir); err != nil {
		t.Fatal(err)
	}
	lock, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, err := db.OpenSQLite(t.Context(), dir+"/persister.db")
	if err != nil {
		t.Fatal(err)
	}
	// As up puts it together, with a store that refuses.
	tr := bus.NewInProcess(nil)
	tr.KeepDead(persister.NewDeadLetters(file.Writer, file.Reader).Put)
	stop := bustest.Consume(t, tr, bus.Options{Handlers: 1}, func(context.Context, []bus.Delivery) []error {
		return []error{events.Permanent(errors.New("no room for it"))}
	})
	rabbit.Eventually(t, "ready", func() bool { return tr.Ready() == nil })
	src := bustest.NewSource(3)
	stopRelay := bustest.Relay(t, tr, src)
	for _, seq := range []int64{1, 2, 1} { // the first one again
		src.Windows <- outbox.Window{Rows: bustest.Rows(t, "ops", seq, seq)}
		bustest.Await(t, "window", src.Dones)
	}
	dead := func(args ...string) (string, error) {
		out, _, err := call(t, nil, append(append([]string{"dead"}, args...), "--data", dir)...)
		return out, err
	}
	list, err := dead("list")
	if err != nil || strings.Count(list, "\n") != 2 || !strings.Contains(list, "2 attempts  ops #1 id-ops-1 from ann: no room for it") {
		t.Errorf("list beside the owner: got %q, %v", list, err)
	}
	if _, err := dead("replay", "--yes"); err == nil || !strings.Contains(err.Error(), "in use by another gochat (pid ") {
		t.Errorf("replay beside the owner: got %v", err)
	}
	stopRelay()
	stop()
	if err := errors.Join(tr.Close(), file.Close(), lock.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := dead("replay"); err != nil || !strings.Contains(out, "would replay 2 letters; --yes does it") {
		t.Errorf("dry replay: got %q, %v", out, err)
	}
	if again, err := dead("list"); err != nil || again != list {
		t.Errorf("a dry run changed the letters: %q, %v", again, err)
	}
	if out, err := dead("replay", "--event", "ops/1", "--yes"); err != nil || out != "replayed 1 letter\n" {
		t.Errorf("replay: got %q, %v", out, err)
	}
	if out, err := dead("drop", "nokey", "--yes"); err == nil || out != "dropped 0 letters\n" {
		t.Errorf("drop of none: got %q, %v", out, err)
	}
	if out, err := dead("drop", "--all", "--yes"); err != nil || out != "dropped 1 letter\n" {
		t.Errorf("drop: got %q, %v", out, err)
	}
	reader, err := openBeside(t.Context(), dir, "persister")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	row, err := persister.NewSQLite(nil, reader).Row(t.Context(), "ops", 1)
	if err != nil || row.ID != "id-ops-1" || time.Since(row.StoredAt) > time.Minute {
		t.Errorf("replayed event: got %+v, %v", row, err)
	}
}
