package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	uri, err := sqliteURI(path)
	if err != nil {
		return nil, err
	}
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

func sqliteURI(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	// In a file: URI these have a meaning of their own.
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(abs)) + "?" + sqlitePragmas, nil
}

// ViewSQLite opens a file only to look at it, beside the process that owns it or without one: it makes no file and
// changes none, and the settings of its one connection are otherwise those of [OpenSQLite]. Where the log is missing
// nobody has the file open, and to read it as one that cannot change keeps SQLite from making a log.
func ViewSQLite(ctx context.Context, path string) (*sql.DB, error) {
	uri, err := sqliteURI(path)
	if err != nil {
		return nil, err
	}
	uri += "&_pragma=query_only(1)&mode=ro"
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		uri += "&immutable=1"
	}
	view, err := sql.Open("sqlite", uri)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	view.SetMaxOpenConns(1)
	if err := view.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, view.Close()))
	}
	return view, nil
}

// HasWAL tells whether a file keeps a write-ahead log, as every file that [OpenSQLite] made does. It reads the header
// (SQLite's file format §1.3.3): a view without a log cannot know.
func HasWAL(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("open %s: %s", path, reason(err))
	}
	defer func() { _ = f.Close() }()
	var version [2]byte // of the format, to write and to read
	if _, err := f.ReadAt(version[:], 18); err != nil {
		return false, fmt.Errorf("read the header of %s: %s", path, reason(err))
	}
	return version == [2]byte{2, 2}, nil
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
