package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Errors of [Reconciliation.Run]; test with errors.Is.
var (
	ErrLost     = errors.New("appended rows are neither in the outbox nor stored")
	ErrUnstored = errors.New("not everything is stored")
)

// Bounds of a reconciliation.
const (
	reconcileKeys  = 1000 // keys that are compared at once
	reconcileEvery = 500 * time.Millisecond

	publishedWithin = 5 * time.Second // for the last look, when the time is up
)

// Reconciliation compares what was appended with what is stored, once and for all keys, and publishes again what is
// missing. It is safe whatever runs beside it: it changes nothing that the relay's own sweep would not, only sooner.
type Reconciliation struct {
	Store Inspector
	Owner string // of the relay that Relay runs
	// Page returns the keys above afterKey in their order, each with the seq of its last row ever; Heads those of keys.
	Page  func(ctx context.Context, afterKey string, limit int) ([]Head, error)
	Heads func(ctx context.Context, keys []string) (map[string]int64, error)
	// Watermarks tells through which seq the keys are stored; it never goes back.
	Watermarks func(ctx context.Context, keys []string) (map[string]int64, error)
	History    History // what the watermarks do not tell; nil: it is not looked at
	CountRows  int64   // the most stored rows that are counted for holes below the watermarks; 0: none, less: all
	// Relay publishes what waits until ctx ends, as Owner. It is run when no other relay is present.
	Relay  func(ctx context.Context) error
	Wait   time.Duration    // how long what was found may take to be stored
	DryRun bool             // only compare
	Tell   func(Reconciled) // hears of progress; may be nil
}

// Reconciled tells what was found, and what became of it.
type Reconciled struct {
	Keys        int   // all that were compared
	Unstored    int   // of these, keys with rows that are not stored
	Rows        int64 // that are not stored
	Waiting     int64 // of these, rows that waited to be published
	Republished int64 // of these, rows that were published before and were made to wait again
	Published   int64 // of these, rows that do not wait any more: published by now, or stored
	Stored      int64 // of these, rows that are stored by now
	Uncounted   int   // keys whose stored rows were not counted: a hole below their watermark would not be seen
	Lost        []Span
	Holes       []Span // below a watermark, so stored once, and gone: lost too
	Beyond      []Span // stored, and never appended: the outbox was restored from an older copy, or somebody else publishes
	Counted     int64  // stored rows that were counted, up to CountRows
}

// Head is the seq of a key's last row ever.
type Head struct {
	Key string
	Seq int64
}

// gap is a key that is not stored to the end.
type gap struct{ mark, to int64 }

// Run returns [ErrLost], with the spans in the result, when rows are missing that only the outbox had, and [ErrUnstored]
// when what it found is not stored in time.
func (r Reconciliation) Run(ctx context.Context) (Reconciled, error) {
	var out Reconciled
	gaps := map[string]gap{}
	for after := ""; ; {
		heads, err := r.Page(ctx, after, reconcileKeys)
		if err == nil && len(heads) > 0 {
			err = r.compare(ctx, heads, gaps, &out)
		}
		if err != nil {
			return out, err
		}
		r.tell(out)
		if len(heads) < reconcileKeys {
			break
		}
		after = heads[len(heads)-1].Key
	}
	var err error
	if r.History != nil {
		err = r.beyond(ctx, &out)
	}
	if err == nil && !r.DryRun && len(gaps) > 0 {
		err = r.await(ctx, gaps, &out)
	}
	if len(out.Lost)+len(out.Holes) > 0 {
		err = errors.Join(ErrLost, err)
	}
	return out, err
}

func (r Reconciliation) tell(out Reconciled) {
	if r.Tell != nil {
		r.Tell(out)
	}
}

// compare looks at a page of keys. The order makes it exact beside writers: a row up to a head that was read first is in
// the outbox when that is read next, unless it was removed because it was stored, and then the watermark, which is read
// last, covers it.
func (r Reconciliation) compare(ctx context.Context, heads []Head, gaps map[string]gap, out *Reconciled) error {
	keys := make([]string, len(heads))
	for i, h := range heads {
		keys[i] = h.Key
	}
	all, err := r.Store.Spans(ctx, keys)
	if err != nil {
		return err
	}
	marks, err := r.Watermarks(ctx, keys)
	if err != nil {
		return fmt.Errorf("ask for the watermarks of %d keys: %w", len(keys), err)
	}
	spans := map[string][]Span{}
	for _, s := range all {
		spans[s.Key] = append(spans[s.Key], s)
	}
	for _, h := range heads {
		out.Keys++
		mark := marks[h.Key]
		// Rows that were appended since the head was read are not waited for, and what is stored may be ahead of it.
		next, last := mark+1, int64(0) // last: in the outbox
		for _, s := range spans[h.Key] {
			last = s.To
			if s.To < next {
				continue
			}
			if s.From > next {
				out.Lost = append(out.Lost, Span{Key: h.Key, From: next, To: s.From - 1})
			}
			from := max(s.From, mark+1)
			out.Rows += s.To - from + 1
			out.Waiting += min(s.To-from+1, s.To-s.From+1-s.Published)
			next = s.To + 1
		}
		if next <= h.Seq {
			out.Lost = append(out.Lost, Span{Key: h.Key, From: next, To: h.Seq})
		}
		if err := r.holes(ctx, h.Key, mark, out); err != nil {
			return err
		}
		if own := spans[h.Key]; !r.DryRun && len(own) > 0 && own[0].From <= mark { // stored, and nobody heard of it
			if _, err := r.Store.Remove(ctx, map[string]int64{h.Key: mark}); err != nil {
				return err
			}
		}
		if last <= mark {
			continue
		}
		out.Unstored++
		gaps[h.Key] = gap{mark: mark, to: last}
		if r.DryRun {
			continue
		}
		if err := r.again(ctx, h.Key, mark, out); err != nil {
			return err
		}
	}
	return nil
}

// again makes the published rows above the mark wait.
func (r Reconciliation) again(ctx context.Context, key string, mark int64, out *Reconciled) error {
	for {
		n, err := r.Store.Republish(ctx, key, mark, SweepRows)
		out.Republished += n
		if err != nil || n < SweepRows {
			return err
		}
	}
}

// await sees to it that somebody relays, and looks how far the keys are stored.
func (r Reconciliation) await(ctx context.Context, gaps map[string]gap, out *Reconciled) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.Wait)
	var relaying chan error
	defer func() {
		cancel()
		if relaying != nil {
			if rerr := <-relaying; err != nil {
				err = errors.Join(err, rerr)
			}
		}
		err = errors.Join(err, r.published(context.WithoutCancel(ctx), gaps, out))
	}()
	for {
		if relaying == nil {
			owners, err := r.Store.Owners(ctx)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err == nil && !slices.ContainsFunc(owners, func(o string) bool { return o != r.Owner }) {
				relaying = make(chan error, 1)
				go func() { relaying <- r.Relay(ctx) }()
			}
		}
		if err := r.look(ctx, gaps, out); err != nil && ctx.Err() == nil {
			return err
		}
		r.tell(*out)
		switch {
		case len(gaps) == 0:
			return nil
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %d of %d rows after %v", ErrUnstored, out.Stored, out.Rows, r.Wait)
		}
		sleep(ctx, reconcileEvery)
	}
}

// look notes what is stored by now, and removes it.
func (r Reconciliation) look(ctx context.Context, gaps map[string]gap, out *Reconciled) error {
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(gaps)), reconcileKeys) {
		marks, err := r.Watermarks(ctx, keys)
		if err != nil {
			return fmt.Errorf("ask for the watermarks of %d keys: %w", len(keys), err)
		}
		stored := map[string]int64{}
		for _, key := range keys {
			g := gaps[key]
			mark := min(marks[key], g.to)
			if mark <= g.mark {
				continue
			}
			stored[key] = mark
			out.Stored += mark - g.mark
			gaps[key] = gap{mark: mark, to: g.to}
			if mark == g.to {
				delete(gaps, key)
			}
		}
		if _, err := r.Store.Remove(ctx, stored); err != nil {
			return err
		}
	}
	return nil
}

// published counts what does not wait any more. Rows that were appended since may hide as many that still wait.
func (r Reconciliation) published(ctx context.Context, gaps map[string]gap, out *Reconciled) error {
	ctx, cancel := context.WithTimeout(ctx, publishedWithin)
	defer cancel()
	waiting := int64(0)
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(gaps)), reconcileKeys) {
		spans, err := r.Store.Spans(ctx, keys)
		if err != nil {
			return err
		}
		for _, s := range spans {
			from, to := max(s.From, gaps[s.Key].mark+1), min(s.To, gaps[s.Key].to)
			if to >= from {
				waiting += min(to-from+1, s.To-s.From+1-s.Published)
			}
		}
	}
	out.Published = out.Rows - waiting
	return nil
}
