// Package storetest is the suite that every accept store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
)

// Open returns two stores on one fresh database, as two replicas of the chat room have it. Where one process owns the
// database, both may be the same.
type Open func(t *testing.T) (a, b store.Store)

// replicas is a test with two stores on its database.
type replicas struct {
	*testing.T
	a, b store.Store
}

// Run runs the suite; each test opens a database of its own.
func Run(t *testing.T, open Open) {
	t.Helper()
	for name, test := range map[string]func(replicas){
		"epoch is made once":                        epochIsMadeOnce,
		"rooms are opened":                          roomsAreOpened,
		"seqs are dense in the order of the batch":  seqsAreDense,
		"missing rooms are created":                 missingRoomsAreCreated,
		"a retry is a duplicate":                    retryIsDuplicate,
		"other content is an id conflict":           otherContentConflicts,
		"the same id twice in a batch":              sameIDTwiceInBatch,
		"one bad row fails alone":                   badRowFailsAlone,
		"times are whole milliseconds in UTC":       timesAreNormal,
		"tail is bounded":                           tailIsBounded,
		"nothing is committed after a cancel":       cancelCommitsNothing,
		"an empty batch is fine":                    emptyBatch,
		"concurrent senders keep order":             concurrentSenders,
		"duplicates raced over replicas":            racedDuplicates,
		"one id raced for two rooms":                racedRooms,
		"rooms in opposite order do not deadlock":   oppositeOrder,
		"missing rooms raced over replicas":         racedMissingRooms,
		"idempotency keys in opposite order":        oppositeKeys,
		"a reader sees no gap while others commit":  readerSeesNoGap,
		"heads never run ahead of what is readable": headsAreCommitted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := open(t)
			test(replicas{t, a, b})
		})
	}
}

var sentAt = time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.UTC)

func send(sender, id, room, text string) store.Send {
	return store.Send{Sender: sender, ID: id, Room: room, Text: text, SentAt: sentAt}
}

func mustAccept(tb testing.TB, s store.Store, sends ...store.Send) []store.Receipt {
	tb.Helper()
	receipts, err := s.Accept(tb.Context(), sends)
	if err != nil {
		tb.Fatal(err)
	}
	if len(receipts) != len(sends) {
		tb.Fatalf("got %d receipts for %d sends", len(receipts), len(sends))
	}
	for i := range receipts {
		if r := &receipts[i]; r.Err != nil || r.Duplicate {
			if r.Event != nil {
				tb.Errorf("receipt %d: got an event, want one only for what is new", i)
			}
			continue
		}
		CheckEvent(tb, sends[i], &receipts[i])
	}
	return receipts
}

// CheckEvent sees that the receipt of a new message has its event, and takes it out, so that the rest can be compared.
func CheckEvent(tb testing.TB, in store.Send, r *store.Receipt) {
	tb.Helper()
	want, err := events.MessageSent{
		Room: in.Room, Seq: r.Seq, Kind: events.KindMessage, ID: in.ID, From: in.Sender, Text: in.Text, SentAt: r.SentAt,
	}.Encode("")
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(r.Event)); diff != "" {
		tb.Errorf("event of a receipt (-want +got):\n%s", diff)
	}
	r.Event = nil
}

// mustLog reads all of a room, and sees that it is the dense log 1, 2, 3 … that its head tells.
func mustLog(tb testing.TB, s store.Store, room string) []events.MessageSent {
	tb.Helper()
	log, err := s.Tail(tb.Context(), room, 0, 0, 1<<20)
	if err != nil {
		tb.Fatal(err)
	}
	for i, e := range log {
		if e.Seq != int64(i+1) || e.Room != room || e.Kind != events.KindMessage {
			tb.Fatalf("%s: event %d is %+v, want seq %d", room, i, e, i+1)
		}
	}
	heads, err := s.Heads(tb.Context(), []string{room})
	if err != nil {
		tb.Fatal(err)
	}
	if heads[room] != int64(len(log)) {
		tb.Fatalf("%s: head is %d, and the log has %d events", room, heads[room], len(log))
	}
	return log
}

func texts(log []events.MessageSent) []string {
	var all []string
	for _, e := range log {
		all = append(all, e.Text)
	}
	return all
}

func epochIsMadeOnce(t replicas) {
	a, b := t.a, t.b
	got := make([]string, 8)
	atOnce(t, len(got), func(ctx context.Context, i int) (err error) {
		got[i], err = pick(a, b, i).Epoch(ctx)
		return err
	})
	for _, e := range got {
		if e == "" || e != got[0] {
			t.Fatalf("got epochs %q, want one", got)
		}
	}
}

func roomsAreOpened(t replicas) {
	a, b := t.a, t.b
	for range 2 {
		if head, err := a.OpenRoom(t.Context(), "ops"); err != nil || head != 0 {
			t.Fatalf("got head %d, %v, want 0", head, err)
		}
	}
	mustAccept(t, a, send("ann", "1", "ops", "x"), send("ann", "2", "ops", "y"))
	if head, err := b.OpenRoom(t.Context(), "ops"); err != nil || head != 2 {
		t.Errorf("got head %d, %v, want 2", head, err)
	}
	heads, err := b.Heads(t.Context(), []string{"ops", "nowhere"})
	if diff := cmp.Diff(map[string]int64{"ops": 2}, heads); diff != "" || err != nil {
		t.Errorf("heads (-want +got):\n%s%v", diff, err)
	}
	if heads, err := b.Heads(t.Context(), nil); err != nil || len(heads) != 0 {
		t.Errorf("no rooms: got %v, %v", heads, err)
	}
}

func seqsAreDense(t replicas) {
	a, b := t.a, t.b
	var sends []store.Send
	for i := range 300 {
		sends = append(sends, send("ann", strconv.Itoa(i), fmt.Sprint("room", i%7), fmt.Sprint("text ", i, " <&>\u2028 ✓")))
	}
	next := map[string]int64{}
	for _, part := range [][]store.Send{sends[:1], sends[1:200], sends[200:]} {
		for i, r := range mustAccept(t, a, part...) {
			next[part[i].Room]++
			want := store.Receipt{Seq: next[part[i].Room], SentAt: sentAt}
			if diff := cmp.Diff(want, r); diff != "" {
				t.Fatalf("receipt (-want +got):\n%s", diff)
			}
		}
	}
	var want []events.MessageSent
	for i := 3; i < 300; i += 7 {
		want = append(want, events.MessageSent{
			Room: "room3", Seq: int64(len(want) + 1), Kind: events.KindMessage, ID: sends[i].ID, From: "ann", Text: sends[i].Text, SentAt: sentAt,
		})
	}
	if diff := cmp.Diff(want, mustLog(t, b, "room3")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func missingRoomsAreCreated(t replicas) {
	a, b := t.a, t.b
	if _, err := a.OpenRoom(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	mustAccept(t, a, send("ann", "1", "z", "1"), send("ann", "2", "m", "2"), send("ann", "3", "a", "3"))
	for _, room := range []string{"a", "m", "z"} {
		if n := len(mustLog(t, b, room)); n != 1 {
			t.Errorf("%s has %d events, want 1", room, n)
		}
	}
}

func retryIsDuplicate(t replicas) {
	a, b := t.a, t.b
	mustAccept(t, a, send("ann", "0", "ops", "zero"))
	first := mustAccept(t, a, send("ann", "1", "ops", "one"))[0]
	retry := send("ann", "1", "ops", "one")
	retry.SentAt = sentAt.Add(time.Hour)
	for _, s := range []store.Store{a, b} {
		got := mustAccept(t, s, retry)[0]
		want := store.Receipt{Seq: first.Seq, SentAt: sentAt, Duplicate: true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("retry (-want +got):\n%s", diff)
		}
	}
	// Beside new ones, a duplicate takes no seq.
	mixed := mustAccept(t, b, send("ann", "2", "ops", "two"), retry, send("ann", "3", "ops", "three"))
	if mixed[0].Seq != 3 || mixed[1].Seq != 2 || mixed[2].Seq != 4 {
		t.Errorf("got %+v, want seqs 3, 2, 4", mixed)
	}
	if diff := cmp.Diff([]string{"zero", "one", "two", "three"}, texts(mustLog(t, a, "ops"))); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func otherContentConflicts(t replicas) {
	a, b := t.a, t.b
	mustAccept(t, a, send("ann", "1", "ops", "one"))
	got := mustAccept(t, b, send("ann", "1", "ops", "two"), send("ann", "1", "dev", "one"), send("bob", "1", "ops", "two"), send("ann", "1", "ops", "one"))
	if !errors.Is(got[0].Err, store.ErrIDConflict) || !errors.Is(got[1].Err, store.ErrIDConflict) {
		t.Errorf("got %+v, want conflicts for another text and another room", got[:2])
	}
	if got[2].Err != nil || got[2].Duplicate || got[2].Seq != 2 {
		t.Errorf("got %+v; another sender may use the id", got[2])
	}
	if got[3].Err != nil || !got[3].Duplicate || got[3].Seq != 1 {
		t.Errorf("got %+v, want the duplicate", got[3])
	}
	if n := len(mustLog(t, a, "dev")); n != 0 {
		t.Errorf("dev has %d events, want none", n)
	}
}

func sameIDTwiceInBatch(t replicas) {
	a := t.a
	got := mustAccept(t, a,
		send("ann", "1", "ops", "one"), send("ann", "1", "ops", "one"), send("ann", "1", "ops", "two"), send("ann", "2", "ops", "three"))
	want := []store.Receipt{{Seq: 1, SentAt: sentAt}, {Seq: 1, SentAt: sentAt, Duplicate: true}, {Err: store.ErrIDConflict}, {Seq: 2, SentAt: sentAt}}
	sameErr := cmp.Comparer(func(x, y error) bool { return errors.Is(x, y) || errors.Is(y, x) })
	if diff := cmp.Diff(want, got, sameErr); diff != "" {
		t.Errorf("receipts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"one", "three"}, texts(mustLog(t, a, "ops"))); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func badRowFailsAlone(t replicas) {
	a := t.a
	var sends []store.Send
	for i := range 255 {
		sends = append(sends, send("ann", strconv.Itoa(i), fmt.Sprint("room", i%3), "fine"))
	}
	bad := []store.Send{
		send("ann", "nul", "room0", "a\x00b"), send("ann", "utf8", "room0", "\xff"), send("a\x00", "x", "room0", "x"),
		send("ann", "\xff", "room0", "x"), send("ann", "x", "room\x00", "x"), send("", "x", "room0", "x"), send("ann", "", "room0", "x"),
		send("ann", "x", "", "x"), {Sender: "ann", ID: "t", Room: "room0", Text: "no time"},
	}
	at := map[int]bool{}
	for i, b := range bad {
		n := i * 29
		sends = append(sends[:n], append([]store.Send{b}, sends[n:]...)...)
		at[n] = true
	}
	for i, r := range mustAccept(t, a, sends...) {
		if at[i] != errors.Is(r.Err, store.ErrBadRow) {
			t.Errorf("send %d %q: got %v", i, sends[i].ID, r.Err)
		}
	}
	total := 0
	for i := range 3 {
		total += len(mustLog(t, a, fmt.Sprint("room", i)))
	}
	if total != 255 {
		t.Errorf("%d events are committed, want 255", total)
	}
}

func timesAreNormal(t replicas) {
	a, b := t.a, t.b
	s := send("ann", "1", "ops", "one")
	s.SentAt = sentAt.Add(123456 * time.Nanosecond).In(time.FixedZone("east", 3600))
	for i, r := range []store.Receipt{mustAccept(t, a, s)[0], mustAccept(t, b, s)[0]} {
		if !r.SentAt.Equal(sentAt) || r.SentAt.Location() != time.UTC {
			t.Errorf("receipt %d: got %s, want %s", i, r.SentAt, sentAt)
		}
	}
	if got := mustLog(t, b, "ops")[0].SentAt; !got.Equal(sentAt) {
		t.Errorf("event: got %s, want %s", got, sentAt)
	}
}

func tailIsBounded(t replicas) {
	a := t.a
	for i := range 10 {
		mustAccept(t, a, send("ann", strconv.Itoa(i), "ops", strconv.Itoa(i+1)), send("ann", fmt.Sprint("other", i), "ops2", "other room"))
	}
	for _, tt := range []struct {
		after, before int64
		limit         int
		want          string
	}{
		{0, 0, 100, "1 2 3 4 5 6 7 8 9 10"}, {0, 0, 3, "1 2 3"}, {7, 0, 100, "8 9 10"}, {7, 0, 2, "8 9"}, {10, 0, 5, ""},
		{0, 5, 100, "1 2 3 4"}, {0, 5, 2, "3 4"}, {2, 5, 100, "3 4"}, {2, 6, 2, "4 5"}, {0, 1, 5, ""}, {0, 100, 2, "9 10"},
		{0, 0, 0, ""}, {0, 0, -1, ""}, {1 << 62, 0, 5, ""},
	} {
		got, err := a.Tail(t.Context(), "ops", tt.after, tt.before, tt.limit)
		if err != nil || strings.Join(texts(got), " ") != tt.want {
			t.Errorf("after %d, before %d, limit %d: got %q, %v, want %q", tt.after, tt.before, tt.limit, texts(got), err, tt.want)
		}
	}
	if got, err := a.Tail(t.Context(), "nowhere", 0, 0, 5); err != nil || len(got) != 0 {
		t.Errorf("unknown room: got %v, %v", got, err)
	}
}

func cancelCommitsNothing(t replicas) {
	a, b := t.a, t.b
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Accept(ctx, []store.Send{send("ann", "1", "ops", "one")}); err == nil || errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("got %v, want a plain error", err)
	}
	if r := mustAccept(t, b, send("ann", "1", "ops", "one"))[0]; r.Duplicate || r.Seq != 1 {
		t.Errorf("got %+v, want the first one", r)
	}
}

func emptyBatch(t replicas) {
	a := t.a
	if got, err := a.Accept(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
