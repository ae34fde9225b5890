package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pressly/goose/v3/lock"
)

// lockID is the advisory lock of this project's migrations: "gochat" in ASCII. It is not goose's default, which any
// other program in the same database may hold.
const lockID int64 = 0x676f63686174

// schemaLocker holds the advisory lock for a session of goose and, under it, sees that the service's schema exists:
// CREATE SCHEMA IF NOT EXISTS races with itself, and the version table needs the schema first.
type schemaLocker struct {
	service Service
}

var _ lock.SessionLocker = schemaLocker{}

// SessionLock tries until it has the lock or ctx ends. It does not wait inside the server, since a statement that
// waits keeps a snapshot, and a later migration that builds an index concurrently would wait for that in turn.
func (l schemaLocker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", lockID).Scan(&locked); err != nil {
			return fmt.Errorf("lock for migrations: %w", err)
		}
		if locked {
			break
		}
		t := time.NewTimer(50*time.Millisecond + rand.N(50*time.Millisecond))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("lock for migrations: another process holds it: %w", ctx.Err())
		}
	}
	if err := l.createSchema(ctx, conn); err != nil {
		_ = l.SessionUnlock(context.WithoutCancel(ctx), conn)
		return err
	}
	return nil
}

// createSchema looks first: even with IF NOT EXISTS the statement needs the right to create, which a role that was
// given a ready schema may lack.
func (l schemaLocker) createSchema(ctx context.Context, conn *sql.Conn) error {
	var exists bool
	err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", string(l.service)).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+string(l.service))
	}
	if err != nil {
		return fmt.Errorf("create schema %s: %w", l.service, err)
	}
	return nil
}

// SessionUnlock gives the lock up.
func (l schemaLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", lockID); err != nil {
		return fmt.Errorf("unlock after migrations: %w", err)
	}
	return nil
}
