package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// tracedStates are SQL statements that bring message #1 to #6 of the room ops into a state each.
var tracedStates = []string{
	`UPDATE chatroom.outbox SET published_at = NULL, attempts = 0 WHERE seq = 1`,
	`UPDATE chatroom.outbox SET published_at = NULL WHERE seq = 2`,
	// 3 is published.
	`INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
	 SELECT 'ops', s, 'message', 'ops-' || s - 1, 'ann', 'text', now() FROM unnest(ARRAY[4, 6]) s`,
	`INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at) VALUES
	 ('ops', 5, 'message', 'other', 'bob', '', now()), ('stray', 1, 'message', 'stray', 'eve', '', now())`,
	`DELETE FROM chatroom.outbox WHERE seq IN (4, 7)`,
	`INSERT INTO chatroom.accepted SELECT 'bob', id, 'other', 1, digest, sent_at FROM chatroom.accepted WHERE id = 'ops-3'`,
}

func TestTraceTellsEachState(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.declare()
	in.accept(store.NewPostgres(in.pool), outbox.Postgres{Pool: in.pool}, 8, "ops")
	for _, sql := range tracedStates {
		if _, err := in.pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	ch := rabbit.Channel(t, rabbit.URL(t))
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for _, e := range []events.MessageSent{{Seq: 8, ID: "ops-7", From: "ann"}, {Seq: 200, ID: "evil", From: "eve"}} {
		e.Room, e.Kind, e.Text, e.SentAt = "ops", "message", "secret", time.Now().UTC()
		raw, err := e.Encode("")
		if err != nil {
			t.Fatal(err)
		}
		c, err := ch.PublishWithDeferredConfirm(in.topology.DeadLetterExchange(), in.topology.MessageSentQueue(), true, false, amqp.Publishing{
			ContentType: events.ContentType, MessageId: events.EventID("ops", e.Seq), Body: raw,
			Headers: amqp.Table{bus.HeaderReason: "no room", bus.HeaderAttempts: "2", bus.HeaderFirstSeen: time.Now().UTC().Format(time.RFC3339Nano)},
		})
		if err != nil || !c.Wait() {
			t.Fatalf("plant a letter: %v", err)
		}
	}
	trace := func(args string) (string, error) {
		out, _, err := call(t, nil, append(append([]string{"trace"}, strings.Fields(args)...), in.flags...)...)
		return out, err
	}
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"ops-0 --sender ann", []string{"message ops-0 from ann, ops #1: waits to be published\n", "published  not yet\n", "no letter"}},
		{"ops-1", []string{"ops #2: waits to be published again\n", "1 times before, and waits again"}},
		{"ops-2", []string{"ops #3: published and confirmed, not stored yet\n", "and confirmed, 1 time)", "stored     no\n", "stored through #0"}},
		{"--room ops --seq 4", []string{"message ops-3 from ann, ops #4: stored, but its room has a hole at #1", "; the outbox's row is gone", "ms"}},
		{"ops-4", []string{"another event is stored in its place: other from bob"}},
		{"ops-6", []string{"a promise is broken"}},
		{"--room ops --seq 7", []string{"message ops-6 from ann, ops #7: accepted, and neither"}},
		{"--room ops --seq 8", []string{"refused by the persister", "2 attempts: no room"}},
		{"ops-3", []string{"message ops-3 from bob, other #1", "message ops-3 from ann, ops #4"}},
		{"--room stray --seq 1", []string{"message stray from eve, stray #1: stored, and about to be told", "accepted   never, here", "published  not from here", "outbox     it has no row"}},
		{"stray --sender eve", []string{"message stray from eve, stray #1: stored"}},
		{"--room ops --seq 200", []string{"message evil from eve, ops #200: refused by the persister, and never accepted here", "letter ", "outbox     it has no row"}},
		{"evil", []string{"message evil from eve, ops #200: refused by the persister, and never accepted here"}},
	} {
		out, err := trace(tt.args)
		if broken := slices.Contains([]string{"ops-3", "ops-4", "ops-6", "--room ops --seq 7"}, tt.args); (exitCode(err) == 1) != broken {
			t.Errorf("trace %s: %v, broken: %t", tt.args, err, broken)
		}
		for _, w := range tt.want {
			if !strings.Contains(out, w) {
				t.Errorf("trace %s: no %q in\n%s", tt.args, w, out)
			}
		}
		if strings.Contains(out, "secret") {
			t.Errorf("trace %s tells a text:\n%s", tt.args, out)
		}
	}
	out, err := trace("ops-7 --json")
	var w way
	if err != nil || json.Unmarshal([]byte(out), &w) != nil || w.Accepted == nil || w.Published == nil || w.Stored != nil || len(w.Dead) != 1 {
		t.Errorf("got %q, %v", out, err)
	}
	for args, want := range map[string]string{
		"nobody":               "no such message",
		"ops-0 --sender bob":   "no such message",
		"x --room ops --seq 4": "ops #4 is the message ops-3 from ann",
		"":                     "trace takes one id, or --room and --seq",
		"--room ops":           "--room and --seq go together",
		"ops-0 ops-1":          "trace takes one id",
		"ops-0 --database-url postgres://127.0.0.1:1/x": "is PostgreSQL running?",
	} {
		in := in
		if strings.Contains(args, "--database-url") {
			in.flags = nil
		}
		_, _, err := call(t, nil, append(append([]string{"trace"}, in.flags...), strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "versions of") {
			t.Errorf("trace %s: got %v, want %q", args, err, want)
		}
	}
	in.flags = append(in.flags, "--rabbitmq-url", "amqp://ann:geheim@127.0.0.1:1/")
	if out, err := trace("ops-0"); err != nil || !strings.Contains(out, "dead       not known: RABBITMQ_URL: cannot use 127.0.0.1:1") || strings.Contains(out, "geheim") {
		t.Errorf("without a broker: got %q, %v", out, err)
	}
}

// A stored message of services that run, and one of a folder whose owner runs.
func TestTraceOfAStoredMessage(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start("persister", "--listen", "127.0.0.1:0", "--admin-listen", "off")
	in.accept(store.NewPostgres(in.pool), outbox.Postgres{Pool: in.pool}, 3, "ops")
	if out, _, err := in.reconcile("--wait", "30s"); err != nil {
		t.Fatalf("%q, %v", out, err)
	}
	out, _, err := call(t, nil, append([]string{"trace", "ops-1", "--sender", "ann"}, in.flags...)...)
	if err != nil || !strings.Contains(out, "ops #2: stored\n") || !strings.Contains(out, "stored through #3") {
		t.Errorf("got %q, %v", out, err)
	}

	dir := t.TempDir()
	if _, _, err := call(t, nil, "migrate", "up", "--data", dir); err != nil {
		t.Fatal(err)
	}
	lock, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	file, err := db.OpenSQLite(t.Context(), dir+"/chatroom.db")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in.accept(store.NewSQLite(file), outbox.SQLite{DB: file.Writer, Read: file.Reader}, 2, "ops")
	for _, args := range []string{"ops-1", "--room ops --seq 2"} {
		out, _, err = call(t, nil, append([]string{"trace", "--data", dir}, strings.Fields(args)...)...)
		if err != nil || !strings.Contains(out, "message ops-1 from ann, ops #2: published and confirmed, not stored yet\n") {
			t.Errorf("beside the owner: got %q, %v", out, err)
		}
	}
}
