package persister_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
)

func TestDeadLettersStayAndCountUp(t *testing.T) {
	t.Parallel()
	s := dbtest.SQLite(t, migrations.Persister)
	d := persister.NewDeadLetters(s.Writer, s.Reader)
	var want []events.DeadLetter
	for i := range 150 { // more than two pages
		want = append(want, events.DeadLetter{
			Key: fmt.Sprint("k", i), ID: fmt.Sprint("ops/", i), Type: "t", ContentType: "c", Carrier: "m", Topic: "message.sent.1",
			Reason: "bad", Attempts: 1, FirstSeen: time.UnixMicro(1_790_000_000_000_123).UTC(), Body: []byte{0, 0xff, byte(i)},
		})
	}
	list := func() (got []events.DeadLetter) {
		t.Helper()
		if err := d.List(t.Context(), func(l events.DeadLetter) (bool, error) {
			got = append(got, l)
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err := d.Put(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	again := want[3]
	again.Attempts, again.Reason, again.FirstSeen = 4, "worse", again.FirstSeen.Add(time.Hour)
	if err := d.Put(t.Context(), []events.DeadLetter{again, again}); err != nil {
		t.Fatal(err)
	}
	want[3].Attempts, want[3].Reason = 9, "worse"
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Error(diff)
	}
	for _, key := range []string{"k3", "k149", "nothing"} {
		if err := d.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); len(got) != 148 || got[3].Key != "k4" {
		t.Errorf("after removing two: got %d letters", len(got))
	}
}
