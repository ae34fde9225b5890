package outbox

import (
	"context"
	"fmt"
)

// Bounds of what is named of one key.
const historySpans = 100

// History looks at the stored rows themselves.
type History interface {
	// Last returns up to limit keys above afterKey that have a row, in their order, each with the seq of its highest row.
	Last(ctx context.Context, afterKey string, limit int) ([]Head, error)
	// Count counts a key's rows up to a seq.
	Count(ctx context.Context, key string, upto int64) (int64, error)
	// Runs returns the first limit unbroken runs of a key's rows, after < seq <= upto, ascending.
	Runs(ctx context.Context, key string, after, upto int64, limit int) ([]Span, error)
}

// holes looks whether all rows up to the watermark are there still: a watermark never goes back, whatever was done to
// the rows below it. The first historySpans of a key are named.
func (r Reconciliation) holes(ctx context.Context, key string, mark int64, out *Reconciled) error {
	if r.History == nil || mark == 0 {
		return nil
	}
	if r.CountRows >= 0 && out.Counted+mark > r.CountRows {
		out.Uncounted++
		return nil
	}
	out.Counted += mark
	n, err := r.History.Count(ctx, key, mark)
	if err != nil || n >= mark {
		return err
	}
	runs, err := r.History.Runs(ctx, key, 0, mark, historySpans)
	if err != nil {
		return err
	}
	next := int64(1)
	for _, run := range runs {
		if run.From > next {
			out.Holes = append(out.Holes, Span{Key: key, From: next, To: run.From - 1})
		}
		next = run.To + 1
	}
	if len(runs) < historySpans && next <= mark {
		out.Holes = append(out.Holes, Span{Key: key, From: next, To: mark})
	}
	return nil
}

// beyond looks for stored rows above what was appended, also of keys that have no head at all. The stored rows are read
// first: a row that was appended has its head then.
func (r Reconciliation) beyond(ctx context.Context, out *Reconciled) error {
	for after := ""; ; {
		last, err := r.History.Last(ctx, after, reconcileKeys)
		if err != nil || len(last) == 0 {
			return err
		}
		keys := make([]string, len(last))
		for i, l := range last {
			keys[i] = l.Key
		}
		heads, err := r.Heads(ctx, keys)
		if err != nil {
			return fmt.Errorf("ask for the heads of %d keys: %w", len(keys), err)
		}
		for _, l := range last {
			if l.Seq <= heads[l.Key] {
				continue
			}
			runs, err := r.History.Runs(ctx, l.Key, heads[l.Key], l.Seq, historySpans)
			if err != nil {
				return err
			}
			for _, run := range runs {
				out.Beyond = append(out.Beyond, Span{Key: l.Key, From: run.From, To: run.To})
			}
		}
		if len(last) < reconcileKeys {
			return nil
		}
		after = last[len(last)-1].Key
	}
}
