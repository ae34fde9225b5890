package outbox

import (
	"context"
	"time"
)

const (
	// vacuumRows is how many rows are removed before the table is vacuumed: some 10 MB, which caches hold.
	vacuumRows = 20_000
	// vacuumShare is how long to wait after a vacuum, in times of what it took. Where it can give nothing back, since an old
	// snapshot still sees all rows, it takes longer and longer, and this bounds it to a fifth of a processor. A larger share
	// would not keep up: a vacuum takes some 8 µs for each row that was removed meanwhile.
	vacuumShare = 4
	vacuumLook  = time.Second
	// vacuumTimeout bounds one vacuum; vacuumRetry is the wait after one that failed.
	vacuumTimeout = time.Minute
	vacuumRetry   = time.Minute
)

// keepVacuuming lets new rows have the space of those that were removed, while the table is small. The server's own vacuum
// looks each minute, and a busy outbox is hundreds of megabytes of removed rows by then, and of index entries that lead to
// them: inserts extend the files instead of finding space, nothing fits into caches, and the vacuum takes half a minute in
// which everybody is slow.
func (r *Relay) keepVacuuming(ctx context.Context) {
	for wait := vacuumLook; sleep(ctx, wait); {
		wait = vacuumLook
		n := r.removed.Load()
		if n < vacuumRows {
			continue
		}
		began := time.Now()
		err := r.vacuum(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = vacuumRetry
			r.o.Logger.Warn("outbox not vacuumed, the server does that each minute", "error", err)
		default:
			r.removed.Add(-n)
			took := time.Since(began)
			wait = max(vacuumLook, vacuumShare*took)
			r.o.Logger.Debug("outbox vacuumed", "removed", n, "took", took)
		}
	}
}

func (r *Relay) vacuum(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, vacuumTimeout)
	defer cancel()
	return r.o.Store.Vacuum(ctx)
}
