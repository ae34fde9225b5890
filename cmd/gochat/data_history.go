package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/compare"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// keepHistory refuses a data folder whose history is gone, before a new and empty one is made in its place: messages were
// accepted that are no more in the outbox, so they were stored, and nothing is stored. The folder must be this process's.
func keepHistory(ctx context.Context, dir string) error {
	path := filepath.Join(dir, string(migrations.Persister)+".db")
	there, err := viewTables(ctx, path, func(view *sql.DB) (bool, error) {
		var stored bool
		err := view.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM messages)`).Scan(&stored)
		return stored, err
	}, "messages")
	if err != nil || there {
		return err
	}
	rooms := filepath.Join(dir, string(migrations.Chatroom)+".db")
	lost, err := viewTables(ctx, rooms, func(view *sql.DB) (bool, error) {
		_, err := compare.WithoutHistory(store.NewSQLite(&db.SQLite{Reader: view}), outbox.SQLite{Read: view}).Run(ctx)
		if errors.Is(err, outbox.ErrLost) {
			return true, nil
		}
		return false, err
	}, "rooms", "outbox")
	if err != nil || !lost {
		return err
	}
	return fmt.Errorf("%s is missing or empty, and %s has accepted messages that were stored in it; restore both files from one backup, or move %[2]s away to begin anew",
		path, rooms)
}

// viewTables asks a file. One that is not there, or has not the tables yet, answers no.
func viewTables(ctx context.Context, path string, ask func(*sql.DB) (bool, error), tables ...string) (yes bool, err error) {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return false, nil
	}
	view, err := db.ViewSQLite(ctx, path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	for _, table := range tables {
		var n int
		if err := view.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?`, table).Scan(&n); err != nil {
			return false, fmt.Errorf("look into %s: %w", path, err)
		}
		if n == 0 {
			return false, nil
		}
	}
	if yes, err = ask(view); err != nil {
		return false, fmt.Errorf("look into %s: %w", path, err)
	}
	return yes, nil
}
