package outboxtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
)

// Memory is an outbox.Store in memory, for tests with virtual time: it does no I/O and passes the suite. It forgets
// everything with the process.
type Memory struct {
	mu     sync.Mutex // guards the fields below
	nextID int64
	rows   map[rowKey]*memoryRow
	leases map[int]memoryLease
	owners map[string]time.Time
	fail   func(method string) error
	calls  map[string]int
}

type rowKey struct {
	key string
	seq int64
}

type memoryRow struct {
	outbox.Row
	id                 int64
	created, published time.Time // published is zero while the row waits
}

type memoryLease struct {
	owner string
	until time.Time
}

var _ outbox.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		rows: map[rowKey]*memoryRow{}, leases: map[int]memoryLease{}, owners: map[string]time.Time{}, calls: map[string]int{},
	}
}

// FailWith makes each call ask fail first, with the name of the method; nil ends that.
func (m *Memory) FailWith(fail func(method string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

// Calls tells how often a method was called.
func (m *Memory) Calls(method string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[method]
}

// enter locks the store for a call, or says why it fails.
func (m *Memory) enter(ctx context.Context, method string) error {
	m.mu.Lock()
	m.calls[method]++
	err := ctx.Err()
	if err == nil && m.fail != nil {
		err = m.fail(method)
	}
	if err != nil {
		m.mu.Unlock()
	}
	return err
}

// Append adds rows, as one committed transaction.
func (m *Memory) Append(ctx context.Context, rows []outbox.Row) error {
	if err := m.enter(ctx, "Append"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for i, r := range rows {
		k := rowKey{r.Key, r.Seq}
		if m.rows[k] != nil || slices.ContainsFunc(rows[:i], func(o outbox.Row) bool { return o.Key == r.Key && o.Seq == r.Seq }) {
			return fmt.Errorf("append %s/%d to outbox: it exists", r.Key, r.Seq)
		}
	}
	for _, r := range rows {
		m.nextID++
		m.rows[rowKey{r.Key, r.Seq}] = &memoryRow{Row: r, id: m.nextID, created: time.Now()}
	}
	return nil
}

// Rows returns what the outbox holds of a key, published or not, in the order of seq.
func (m *Memory) Rows(key string) []outbox.Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []outbox.Row
	for k, r := range m.rows {
		if k.key == key {
			rows = append(rows, r.Row)
		}
	}
	slices.SortFunc(rows, func(a, b outbox.Row) int { return int(a.Seq - b.Seq) })
	return rows
}

// Fetch implements outbox.Store.
func (m *Memory) Fetch(ctx context.Context, shards []int, limit int) ([]outbox.Row, error) {
	if err := m.enter(ctx, "Fetch"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var due []*memoryRow
	for _, r := range m.rows {
		if r.published.IsZero() && slices.Contains(shards, r.Shard) {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *memoryRow) int { return int(a.id - b.id) })
	var rows []outbox.Row
	for size := 0; len(rows) < min(limit, len(due)) && size < outbox.WindowBytes; {
		r := due[len(rows)]
		size += len(r.Payload)
		rows = append(rows, r.Row)
	}
	return rows, nil
}

// Oldest implements outbox.Store.
func (m *Memory) Oldest(ctx context.Context, shards []int) (time.Duration, error) {
	if err := m.enter(ctx, "Oldest"); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	var oldest time.Duration
	for _, r := range m.rows {
		if r.published.IsZero() && slices.Contains(shards, r.Shard) {
			oldest = max(oldest, time.Since(r.created).Abs())
		}
	}
	return oldest, nil
}

// MarkPublished implements outbox.Store.
func (m *Memory) MarkPublished(ctx context.Context, rows []outbox.Row) error {
	if err := m.enter(ctx, "MarkPublished"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, r := range rows {
		if row := m.rows[rowKey{r.Key, r.Seq}]; row != nil && row.published.IsZero() {
			row.published = time.Now()
		}
	}
	return nil
}

// Remove implements outbox.Store.
func (m *Memory) Remove(ctx context.Context, stored map[string]int64) (n int64, err error) {
	if err := m.enter(ctx, "Remove"); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	for k := range m.rows {
		if mark, ok := stored[k.key]; ok && k.seq <= mark {
			delete(m.rows, k)
			n++
		}
	}
	return n, nil
}

// Unstored implements outbox.Store.
func (m *Memory) Unstored(
	ctx context.Context, shards []int, afterKey string, olderThan time.Duration, limit int,
) ([]outbox.Lowest, error) {
	if err := m.enter(ctx, "Unstored"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	lowest := map[string]*memoryRow{}
	for k, r := range m.rows {
		if l := lowest[k.key]; l == nil || k.seq < l.Seq {
			lowest[k.key] = r
		}
	}
	var due []outbox.Lowest
	for key, r := range lowest {
		if key > afterKey && slices.Contains(shards, r.Shard) && !r.published.IsZero() && time.Since(r.published) >= olderThan {
			due = append(due, outbox.Lowest{Key: key, Seq: r.Seq})
		}
	}
	slices.SortFunc(due, func(a, b outbox.Lowest) int { return strings.Compare(a.Key, b.Key) })
	return due[:min(limit, len(due))], nil
}

// Republish implements outbox.Store.
func (m *Memory) Republish(ctx context.Context, key string, after int64, limit int) (int64, error) {
	if err := m.enter(ctx, "Republish"); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	var due []*memoryRow
	for k, r := range m.rows {
		if k.key == key && k.seq > after && !r.published.IsZero() {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *memoryRow) int { return int(a.Seq - b.Seq) })
	due = due[:min(limit, len(due))]
	for _, r := range due {
		r.published = time.Time{}
	}
	return int64(len(due)), nil
}

// Vacuum implements outbox.Store.
func (m *Memory) Vacuum(ctx context.Context) error {
	if err := m.enter(ctx, "Vacuum"); err != nil {
		return err
	}
	m.mu.Unlock()
	return nil
}

// Stats implements outbox.Store.
func (m *Memory) Stats(ctx context.Context) (outbox.Stats, error) {
	if err := m.enter(ctx, "Stats"); err != nil {
		return outbox.Stats{}, err
	}
	defer m.mu.Unlock()
	st := outbox.Stats{Unstored: int64(len(m.rows))}
	for _, r := range m.rows {
		if r.published.IsZero() {
			st.Unpublished++
			st.Oldest = max(st.Oldest, time.Since(r.created))
		}
	}
	return st, nil
}

// Lease implements outbox.Store.
func (m *Memory) Lease(ctx context.Context, owner string, shards int, ttl time.Duration) ([]int, error) {
	if err := m.enter(ctx, "Lease"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	now := time.Now()
	m.owners[owner] = now.Add(ttl)
	for o, until := range m.owners {
		if !until.After(now) {
			delete(m.owners, o)
		}
	}
	share := (shards + len(m.owners) - 1) / len(m.owners)
	var held []int
	for _, mine := range []bool{true, false} { // what is held, before what is free
		for n := range shards {
			l, taken := m.leases[n]
			taken = taken && l.until.After(now)
			switch {
			case mine != (taken && l.owner == owner), taken && l.owner != owner:
			case len(held) < share:
				m.leases[n] = memoryLease{owner: owner, until: now.Add(ttl)}
				held = append(held, n)
			case mine:
				delete(m.leases, n)
			}
		}
	}
	slices.Sort(held)
	return held, nil
}

// Release implements outbox.Store.
func (m *Memory) Release(ctx context.Context, owner string) error {
	if err := m.enter(ctx, "Release"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.owners, owner)
	for n, l := range m.leases {
		if l.owner == owner {
			delete(m.leases, n)
		}
	}
	return nil
}
