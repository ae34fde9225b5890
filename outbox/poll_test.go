package outbox_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// A stream of rows that are stored soon is polled for what was overlooked, and that is all.
func TestAPollOfABusyOutboxNeitherFetchesNorMarks(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		before, polls := calls(m), m.Calls("Oldest")
		const lag = 4
		for seq := int64(2); seq < 52; seq++ {
			r.Offer(commit(t, m, seq, seq))
			done(t, r, wantWindow(t, r, true, fmt.Sprint("a/", seq)))
			time.Sleep(outbox.DefaultPoll / 10)
			r.Stored(map[string]int64{"a": seq - lag})
			synctest.Wait()
		}
		if got := calls(m); got != before {
			t.Errorf("calls of Fetch and MarkPublished: got %v, want %v as before", got, before)
		}
		if n := m.Calls("Oldest") - polls; n < 4 || n > 6 {
			t.Errorf("polled %d times in five times DefaultPoll", n)
		}
		appendRows(t, m, "b", 1, 1) // by another process, which nobody hears of
		w, took := next(t, r)
		if took > 3*outbox.DefaultPoll/2 {
			t.Errorf("found after %v, want at most one and a half times DefaultPoll", took)
		}
		done(t, r, w)
	})
}

// A poll that finds no end keeps back nothing that was offered, and what was overlooked is found when polls work again.
func TestAPollThatFailsKeepsNothingBack(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		m.FailWith(func(method string) error {
			if method == "Oldest" || method == "Fetch" {
				return context.DeadlineExceeded
			}
			return nil
		})
		for seq := int64(2); seq < 22; seq++ {
			r.Offer(commit(t, m, seq, seq))
			done(t, r, wantWindow(t, r, true, fmt.Sprint("a/", seq)))
			time.Sleep(outbox.DefaultPoll / 2)
		}
		appendRows(t, m, "b", 1, 1) // by another process, which nobody hears of
		m.FailWith(nil)
		wantWindow(t, r, false, "b/1")
	})
}
