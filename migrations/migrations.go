// Package migrations holds the schema of both services and moves a database between its versions, with goose. PostgreSQL
// has a schema for each service, SQLite a file for each; both dialects carry the same numbers and names. It promises that
// any number of processes may migrate one PostgreSQL database at once: a session lock of the database lets one work and
// the others find it done. A SQLite file has one owner (see the lock of the data folder) and needs no lock here. A
// migration runs in a transaction, so a crash leaves a whole version behind. The lock lives in the session: behind a
// pooler that shares sessions between transactions, migrate over a direct connection. It starts no goroutine.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/rafaeldepontes/go-chat/internal/db"
)

//go:embed postgres/*/*.sql sqlite/*/*.sql
var files embed.FS

// Service names whose schema is meant.
type Service string

// The services.
const (
	Chatroom  Service = "chatroom"
	Persister Service = "persister"
)

// Errors of [Migrator.Check]; their text names the way out.
var (
	ErrTooOld = errors.New("the schema is too old")
	ErrTooNew = errors.New("the schema is too new")
)

// Change is a migration that was applied, or rolled back.
type Change struct {
	Service Service
	Version int64
	Name    string // as in 00001_NAME.sql
	Up      bool
}

// Migrator moves the schema of some services in one database. Its methods are to be called one at a time.
type Migrator struct {
	parts []*part
	conn  *pgx.ConnConfig // PostgreSQL: to explain an error of connecting; nil for SQLite
	close func() error
}

// part is the schema of one service.
type part struct {
	service  Service
	db       *sql.DB
	table    string // of versions
	exists   string // query: is that table there?
	sources  []source
	provider *goose.Provider
}

// source is a migration that this binary knows, in order of version.
type source struct {
	version int64
	name    string
}

// Postgres returns a Migrator for the database of the URL; without services it means all. It connects with the first
// call. Errors of connecting are [*db.OpenError]. Close it.
func Postgres(databaseURL string, services ...Service) (*Migrator, error) {
	cfg, err := db.ConnConfig(databaseURL, "gochat migrate")
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["timezone"] = "UTC" // goose's time of application has no zone
	pool := stdlib.OpenDB(*cfg)
	if len(services) == 0 {
		services = []Service{Chatroom, Persister}
	}
	m := &Migrator{conn: cfg, close: pool.Close}
	for _, s := range services {
		p := &part{
			service: s, db: pool, table: string(s) + ".goose_db_version",
			exists: "SELECT to_regclass('" + string(s) + ".goose_db_version') IS NOT NULL",
		}
		err := p.load(goose.DialectPostgres, path.Join("postgres", string(s)), goose.WithSessionLocker(schemaLocker{s}))
		if err != nil {
			return nil, errors.Join(err, pool.Close())
		}
		m.parts = append(m.parts, p)
	}
	return m, nil
}

// SQLite returns a Migrator for the file of one service, opened for writing. It leaves the database open.
func SQLite(file *sql.DB, s Service) (*Migrator, error) {
	p := &part{
		service: s, db: file, table: "goose_db_version",
		exists: "SELECT count(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'",
	}
	if err := p.load(goose.DialectSQLite3, path.Join("sqlite", string(s))); err != nil {
		return nil, err
	}
	return &Migrator{parts: []*part{p}, close: func() error { return nil }}, nil
}

func (p *part) load(dialect goose.Dialect, folder string, opts ...goose.ProviderOption) error {
	sub, err := fs.Sub(files, folder)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", p.service, err)
	}
	opts = append(opts, goose.WithTableName(p.table), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if p.provider, err = goose.NewProvider(dialect, p.db, sub, opts...); err != nil {
		return fmt.Errorf("migrations of %s: %w", p.service, err)
	}
	for _, s := range p.provider.ListSources() {
		p.sources = append(p.sources, source{s.Version, nameOf(s.Path)})
	}
	return nil
}

// Close ends the connections that Postgres made.
func (m *Migrator) Close() error { return m.close() }

// Up brings the schemas to the version of this binary and returns what it applied. Wraps [ErrTooNew] where they are
// beyond it; then nothing is changed.
func (m *Migrator) Up(ctx context.Context) ([]Change, error) {
	return m.change(ctx, false, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.Up(ctx) })
}

// Down takes one step back in each service, the last service first.
func (m *Migrator) Down(ctx context.Context) ([]Change, error) {
	return m.change(ctx, true, func(p *goose.Provider) ([]*goose.MigrationResult, error) {
		r, err := p.Down(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil, nil
		}
		return []*goose.MigrationResult{r}, err
	})
}

// DownToZero takes all steps back, and with them everything that was ever kept.
func (m *Migrator) DownToZero(ctx context.Context) ([]Change, error) {
	return m.change(ctx, true, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.DownTo(ctx, 0) })
}

func (m *Migrator) change(ctx context.Context, backwards bool, move func(*goose.Provider) ([]*goose.MigrationResult, error)) ([]Change, error) {
	if err := m.check(ctx, false); err != nil {
		return nil, err
	}
	var done []Change
	for i := range m.parts {
		p := m.parts[i]
		if backwards {
			p = m.parts[len(m.parts)-1-i]
		}
		// Moving looks at the version table before it takes the lock. This call takes it first, and makes schema and
		// table under it where they are missing.
		if _, err := p.provider.GetDBVersion(ctx); err != nil {
			return done, fmt.Errorf("migrate %s: %w", p.service, m.explain(err))
		}
		results, err := move(p.provider)
		for _, r := range results {
			if r != nil && r.Error == nil {
				done = append(done, Change{p.service, r.Source.Version, nameOf(r.Source.Path), r.Direction == "up"})
			}
		}
		if err != nil {
			return done, fmt.Errorf("migrate %s: %w", p.service, m.explain(err))
		}
	}
	return done, nil
}

func (m *Migrator) explain(err error) error {
	if m.conn == nil {
		return err
	}
	return db.Explain(m.conn, err)
}

// nameOf turns 00001_rooms.sql into rooms.
func nameOf(file string) string {
	_, name, _ := strings.Cut(strings.TrimSuffix(path.Base(file), ".sql"), "_")
	return name
}

// State is a migration and when it was applied (UTC; zero: it was not).
type State struct {
	Service   Service
	Version   int64
	Name      string // empty: the database has it, and this binary does not know it
	AppliedAt time.Time
}
