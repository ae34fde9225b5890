package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
)

func migrateCommand() command {
	return command{
		name: "migrate", args: "up|down|status", summary: "moves the database to this program's version, one step back, or tells where it is",
		setup: func(s *config.Set) runFunc {
			database := declareDatabase(s)
			data := s.String("data", "", "folder of the SQLite files of gochat up, in the place of PostgreSQL", config.FlagOnly(), config.Value("DIR"))
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) != 1 {
					return usagef("migrate takes one word: up, down or status")
				}
				work, known := map[string]func(context.Context, stdio, *migrations.Migrator) error{
					"up": migrateUp, "down": migrateDown, "status": migrateStatus,
				}[args[0]]
				if !known {
					return usagef("migrate takes up, down or status, not %q", args[0])
				}
				if *data != "" {
					return migrateSQLite(ctx, std, *data, work)
				}
				m, err := migrations.Postgres(database().url)
				if err != nil {
					return err
				}
				return errors.Join(work(ctx, std, m), m.Close())
			}
		},
	}
}

// migrateSQLite works on both files of a data folder, which no other process may own meanwhile. It never makes a folder.
func migrateSQLite(ctx context.Context, std stdio, dir string, work func(context.Context, stdio, *migrations.Migrator) error) error {
	if err := isFolder(dir); err != nil {
		return err
	}
	lock, err := db.LockDir(dir)
	if err != nil {
		return err
	}
	failed := keepHistory(ctx, dir)
	if failed != nil {
		return errors.Join(failed, lock.Close())
	}
	for _, service := range []migrations.Service{migrations.Chatroom, migrations.Persister} {
		failed = migrateFile(ctx, std, filepath.Join(dir, string(service)+".db"), service, work)
		if failed != nil {
			break
		}
	}
	return errors.Join(failed, lock.Close())
}

// isFolder refuses a folder that is not there, for commands that must not make one.
func isFolder(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("--data: %s is not a folder", dir)
	}
	return nil
}

func migrateFile(ctx context.Context, std stdio, file string, service migrations.Service, work func(context.Context, stdio, *migrations.Migrator) error) error {
	files, err := db.OpenSQLite(ctx, file)
	if err != nil {
		return err
	}
	m, err := migrations.SQLite(files.Writer, service)
	if err == nil {
		err = errors.Join(work(ctx, std, m), m.Close())
	}
	return errors.Join(err, files.Close())
}

func migrateUp(ctx context.Context, std stdio, m *migrations.Migrator) error {
	return tellChanges(ctx, std, m.Up, "nothing to do: the schema is up to date")
}

func migrateDown(ctx context.Context, std stdio, m *migrations.Migrator) error {
	return tellChanges(ctx, std, m.Down, "nothing to do: no migration is applied")
}

// tellChanges prints what was done also where a later step failed.
func tellChanges(ctx context.Context, std stdio, move func(context.Context) ([]migrations.Change, error), nothing string) error {
	changes, err := move(ctx)
	for _, c := range changes {
		direction := "down"
		if c.Up {
			direction = "up"
		}
		if _, werr := fmt.Fprintf(std.out, "%-4s %s %05d %s\n", direction, c.Service, c.Version, c.Name); werr != nil {
			return errors.Join(err, werr)
		}
	}
	if err == nil && len(changes) == 0 {
		_, err = fmt.Fprintln(std.out, nothing)
	}
	return err
}

func migrateStatus(ctx context.Context, std stdio, m *migrations.Migrator) error {
	states, err := m.Status(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	for _, s := range states {
		name, applied := s.Name, "not applied"
		if name == "" {
			name = "(unknown to this program)"
		}
		if !s.AppliedAt.IsZero() {
			applied = s.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%05d\t%s\t%s\n", s.Service, s.Version, name, applied)
	}
	return w.Flush()
}
