// Package db opens the databases: a pgx pool on PostgreSQL, or SQLite files that one process owns. It promises that what
// a commit acknowledged survives a crash (synchronous_commit on, synchronous=FULL), and that an error of opening is one
// line that names the setting, the host and what to do, and never a password. It starts no goroutine of its own; a pool
// ends its own ones in Close.
package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options of a pool.
type Options struct {
	// ApplicationName is shown in pg_stat_activity; empty: "gochat".
	ApplicationName string
	// MaxConns bounds the pool; 0: what the URL says (pool_max_conns), or 10.
	MaxConns int32
	// Tracer sees every statement; may be nil.
	Tracer pgx.QueryTracer
}

// What every session of a pool has, unless the URL sets it.
//
// A client that hangs in the middle of a transaction holds the locks of its rooms, so the server ends it; a statement that
// waits for such a lock gives up.
//
// A statement is planned once and then used for days. Planned while its table had a page or two, it would read the table
// from end to end, and go on so while that grows by millions, until the next ANALYZE. So a table is read through only where
// no index serves; since that counts as very expensive, it would start the JIT compiler, for a second.
var sessionDefaults = map[string]string{
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "5s",
	"timezone":                            "UTC",
	"enable_seqscan":                      "off",
	"jit":                                 "off",
}

const (
	defaultMaxConns       = 10
	defaultConnectTimeout = 5 * time.Second
)

// OpenPostgres opens a pool and sees that the server answers. The error is an [*OpenError]; [Retryable] tells whether it
// may heal by itself.
func OpenPostgres(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	cfg, err := poolConfig(url, o)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, Explain(cfg.ConnConfig, err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, Explain(cfg.ConnConfig, err)
	}
	return pool, nil
}

// Wait calls try again, with a growing pause of at most 5 s, while its error may heal: [Retryable]. A start is more than one
// call, and the server may go away between any two, so that try does all of them. onRetry hears of each failed try and of the
// pause that follows it; it may be nil. Ends with the last error when it is final or ctx is done.
func Wait(ctx context.Context, onRetry func(err error, pause time.Duration), try func() error) error {
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := try()
		if err == nil || !Retryable(err) {
			return err
		}
		if onRetry != nil {
			onRetry(err, pause)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// Identity tells which database it is: of one server and, if that server was not copied as a whole, no other. Whoever
// opens the database from elsewhere, or by another name of its host, gets the same. A server that does not let its users
// ask has none.
func Identity(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	const query = `SELECT system_identifier || '/' || current_database() FROM pg_control_system()`
	var id string
	err := pool.QueryRow(ctx, query).Scan(&id)
	var refused *pgconn.PgError
	if err != nil && !errors.As(err, &refused) {
		return "", fmt.Errorf("ask which database it is: %w", err)
	}
	return id, nil
}

// ConnConfig parses the URL for a single connection, with the same checks and defaults as [OpenPostgres] but without
// its lock timeout, which is wrong for migrations.
func ConnConfig(url, applicationName string) (*pgx.ConnConfig, error) {
	if err := checkForm(url); err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errBadURL(err)
	}
	return cfg, prepare(cfg, applicationName)
}

func poolConfig(url string, o Options) (*pgxpool.Config, error) {
	if err := checkForm(url); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errBadURL(err)
	}
	if err := prepare(cfg.ConnConfig, o.ApplicationName); err != nil {
		return nil, err
	}
	for k, v := range sessionDefaults {
		if _, given := cfg.ConnConfig.RuntimeParams[k]; !given {
			cfg.ConnConfig.RuntimeParams[k] = v
		}
	}
	cfg.ConnConfig.Tracer = o.Tracer
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		registerArrays(conn.TypeMap())
		return nil
	}
	switch {
	case o.MaxConns > 0:
		cfg.MaxConns = o.MaxConns
	case !hasParam(url, "pool_max_conns"):
		cfg.MaxConns = defaultMaxConns
	}
	return cfg, nil
}

func prepare(cfg *pgx.ConnConfig, applicationName string) error {
	p := cfg.RuntimeParams
	if p["application_name"] == "" {
		p["application_name"] = cmp.Or(applicationName, "gochat")
	}
	// A server or a role may have it off; then an acknowledged commit can be lost, which breaks the first promise.
	switch p["synchronous_commit"] {
	case "":
		p["synchronous_commit"] = "on"
	case "off":
		return &OpenError{reason: "synchronous_commit=off would lose accepted messages; take it out of the URL"}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = defaultConnectTimeout
	}
	return nil
}
