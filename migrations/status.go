package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/db"
)

// Status lists the migrations of each service, in order of version. It changes nothing, not even in an empty database.
func (m *Migrator) Status(ctx context.Context) ([]State, error) {
	var all []State
	for _, p := range m.parts {
		applied, err := p.applied(ctx)
		if err != nil {
			err = m.explain(err)
			if _, connects := errors.AsType[*db.OpenError](err); connects {
				return nil, err // a line of its own
			}
			return nil, fmt.Errorf("versions of %s: %w", p.service, err)
		}
		for _, s := range p.sources {
			all = append(all, State{p.service, s.version, s.name, applied[s.version]})
			delete(applied, s.version)
		}
		unknown := make([]State, 0, len(applied))
		for v, at := range applied {
			unknown = append(unknown, State{Service: p.service, Version: v, AppliedAt: at})
		}
		slices.SortFunc(unknown, func(a, b State) int { return int(a.Version - b.Version) })
		all = append(all, unknown...)
	}
	return all, nil
}

// Check tells whether this binary may serve on the schemas: nil, or an error that wraps [ErrTooOld] or [ErrTooNew] and
// names the way out. It changes nothing and takes no lock.
func (m *Migrator) Check(ctx context.Context) error { return m.check(ctx, true) }

func (m *Migrator) check(ctx context.Context, complete bool) error {
	states, err := m.Status(ctx)
	if err != nil {
		return err
	}
	// Too new comes first: there, running an old "migrate up" would be the wrong advice.
	for _, s := range states {
		if s.Name == "" {
			return fmt.Errorf("%w: %s has version %d, which this binary does not know; this binary is older than the schema: use a newer gochat",
				ErrTooNew, s.Service, s.Version)
		}
	}
	for _, s := range states {
		if complete && s.AppliedAt.IsZero() {
			return fmt.Errorf("%w: %s lacks version %d (%s); run `gochat migrate up`", ErrTooOld, s.Service, s.Version, s.Name)
		}
	}
	return nil
}

// applied reads which versions the database has, by version. It is not goose's own status, which would make the version
// table in passing.
func (p *part) applied(ctx context.Context) (map[int64]time.Time, error) {
	var exists bool
	if err := p.db.QueryRowContext(ctx, p.exists).Scan(&exists); err != nil {
		return nil, err
	}
	versions := map[int64]time.Time{}
	if !exists {
		return versions, nil
	}
	rows, err := p.db.QueryContext(ctx, "SELECT version_id, tstamp FROM "+p.table+" WHERE is_applied AND version_id > 0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, err
		}
		versions[version] = at.UTC()
	}
	return versions, rows.Err()
}
