package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// SQLite is one database file. SQLite has one writer at a time, so there is one connection for writing, on which
// transactions queue in Go instead of failing with "busy"; readers see the last commit and never wait for the writer.
type SQLite struct {
	// Writer has one connection; every transaction of it takes the write lock at once (BEGIN IMMEDIATE).
	Writer *sql.DB
	// Reader is a pool of connections that cannot write.
	Reader *sql.DB
}

// Settings of each connection. FULL syncs the log at every commit; without it the last commits are lost with the power.
const sqlitePragmas = "_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=cache_size(-16000)"

// OpenSQLite opens the file, and makes it where it is missing. The folder must be there and be this process's own:
// see [LockDir].
func OpenSQLite(ctx context.Context, path string) (*SQLite, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// In a file: URI these have a meaning of their own.
	uri := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(abs)) + "?" + sqlitePragmas
	w, err := sql.Open("sqlite", uri+"&_txlock=immediate&_pragma=journal_mode(WAL)")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	w.SetMaxOpenConns(1)
	var mode string
	if err := w.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, w.Close()))
	}
	if mode != "wal" {
		return nil, errors.Join(fmt.Errorf("open %s: no write-ahead log here (journal_mode is %s); use a folder on a local disk", path, mode), w.Close())
	}
	r, err := sql.Open("sqlite", uri+"&_pragma=query_only(1)")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, w.Close()))
	}
	r.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	r.SetMaxIdleConns(max(4, runtime.GOMAXPROCS(0)))
	return &SQLite{Writer: w, Reader: r}, nil
}

// Close closes the readers, then the writer, which folds the log into the file.
func (s *SQLite) Close() error {
	return errors.Join(s.Reader.Close(), s.Writer.Close())
}

// InTx runs fn in a transaction of db and commits it when fn returns nil; otherwise, and in a panic, it rolls back.
func InTx(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
