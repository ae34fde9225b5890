// Package compare compares what a chat room accepted with what waits in its outbox and what is stored. It knows both
// services, which do not know each other: operators' commands ask it. It promises that what it calls missing is missing,
// whatever writes beside it, and that a comparison changes nothing.
package compare

import (
	"context"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// CountRows is how many stored rows are counted unless more is asked for: some tenths of a second in either database.
const CountRows = 1_000_000

// Reconciliation is one that only compares, and counts up to [CountRows].
func Reconciliation(rooms store.Inspector, out outbox.Inspector, rows persister.Rows) outbox.Reconciliation {
	return outbox.Reconciliation{
		Store: out, Page: rooms.Rooms, Heads: rooms.Heads, Watermarks: rows.Marks,
		History: history{rows}, CountRows: CountRows, DryRun: true,
	}
}

// WithoutHistory compares as if nothing was ever stored: what it calls lost was stored.
func WithoutHistory(rooms store.Inspector, out outbox.Inspector) outbox.Reconciliation {
	nothing := func(context.Context, []string) (map[string]int64, error) { return map[string]int64{}, nil }
	return outbox.Reconciliation{Store: out, Page: rooms.Rooms, Watermarks: nothing, DryRun: true}
}

// history is the persister's rows as an outbox asks for them.
type history struct{ rows persister.Rows }

func (h history) Last(ctx context.Context, after string, limit int) ([]outbox.Head, error) {
	rooms, err := h.rows.Rooms(ctx, after, limit)
	heads := make([]outbox.Head, len(rooms))
	for i, r := range rooms {
		heads[i] = outbox.Head{Key: r.Room, Seq: r.Last}
	}
	return heads, err
}

func (h history) Count(ctx context.Context, room string, upto int64) (int64, error) {
	return h.rows.Count(ctx, room, upto)
}

func (h history) Runs(ctx context.Context, room string, after, upto int64, limit int) ([]outbox.Span, error) {
	runs, err := h.rows.Runs(ctx, room, after, upto, limit)
	spans := make([]outbox.Span, len(runs))
	for i, r := range runs {
		spans[i] = outbox.Span{Key: room, From: r.From, To: r.To}
	}
	return spans, err
}
