package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Leases of both databases work the same way, step by step, in one transaction that no other lease runs beside:
//
//	forget what is expired; be present; renew; give up the surplus; take what is free; read what is held.
//
// An owner that holds nothing must be seen as well, or nobody would give up shards for it. So presence is a row of its own,
// numbered from presenceBase upward. What was given up is free for the others at their next Lease: nothing is taken from a
// live owner behind its back.

// presenceBase is where presence rows begin in outbox_leases; shards are below.
const presenceBase = 1 << 14

const (
	// The table lock queues the leases of all owners. The clock is read after it, and not at the start of the transaction,
	// or an owner that waited would judge with an old time.
	leaseLockPostgres   = `LOCK TABLE chatroom.outbox_leases IN SHARE ROW EXCLUSIVE MODE`
	leaseExpirePostgres = `DELETE FROM chatroom.outbox_leases WHERE expires_at <= clock_timestamp()`
	leaseRenewPostgres  = `UPDATE chatroom.outbox_leases SET expires_at = clock_timestamp() + $2::interval WHERE owner = $1`
	leaseJoinPostgres   = `
INSERT INTO chatroom.outbox_leases (shard, owner, expires_at)
SELECT min(n), $1, clock_timestamp() + $2::interval
FROM generate_series($3::int, $3::int + (SELECT count(*) FROM chatroom.outbox_leases)::int) AS n
WHERE NOT EXISTS (SELECT FROM chatroom.outbox_leases WHERE shard = n)
HAVING NOT EXISTS (SELECT FROM chatroom.outbox_leases WHERE owner = $1 AND shard >= $3)`

	// Shards divided by the owners present, rounded up.
	leaseSharePostgres = `(SELECT ($2::int + count(*) - 1) / count(*) FROM chatroom.outbox_leases WHERE shard >= $3)`

	leaseGivePostgres = `
DELETE FROM chatroom.outbox_leases WHERE shard IN (
    SELECT shard FROM chatroom.outbox_leases WHERE owner = $1 AND shard < $3
    ORDER BY shard OFFSET ` + leaseSharePostgres + `)`
	leaseTakePostgres = `
INSERT INTO chatroom.outbox_leases (shard, owner, expires_at)
SELECT n, $1, clock_timestamp() + $4::interval FROM generate_series(0, $2::int - 1) AS n
WHERE NOT EXISTS (SELECT FROM chatroom.outbox_leases WHERE shard = n)
ORDER BY n
LIMIT greatest(0, ` + leaseSharePostgres + ` - (SELECT count(*) FROM chatroom.outbox_leases WHERE owner = $1 AND shard < $3))`
	leaseHeldPostgres = `
SELECT shard FROM chatroom.outbox_leases WHERE owner = $1 AND shard < $2::int ORDER BY shard`
	leaseReleasePostgres = `DELETE FROM chatroom.outbox_leases WHERE owner = $1`
)

// Lease implements [Store]. The whole transaction is sent at once, so a process that is stopped in the middle of it holds up
// the others' leases for idle_in_transaction_session_timeout at most.
func (s Postgres) Lease(ctx context.Context, owner string, shards int, ttl time.Duration) ([]int, error) {
	if err := checkLease(owner, shards, ttl); err != nil {
		return nil, err
	}
	var held []int
	b := &pgx.Batch{}
	b.Queue(`BEGIN`)
	b.Queue(`SET LOCAL idle_in_transaction_session_timeout = '5s'`)
	b.Queue(leaseLockPostgres)
	b.Queue(leaseExpirePostgres)
	b.Queue(leaseRenewPostgres, owner, ttl)
	b.Queue(leaseJoinPostgres, owner, ttl, presenceBase)
	b.Queue(leaseGivePostgres, owner, shards, presenceBase)
	b.Queue(leaseTakePostgres, owner, shards, presenceBase, ttl)
	b.Queue(leaseHeldPostgres, owner, shards).Query(func(rows pgx.Rows) (err error) {
		held, err = pgx.CollectRows(rows, pgx.RowTo[int])
		return err
	})
	b.Queue(`COMMIT`)
	if err := s.Pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("lease outbox shards: %w", err)
	}
	return held, nil
}

// Release implements [Store].
func (s Postgres) Release(ctx context.Context, owner string) error {
	if _, err := s.Pool.Exec(ctx, leaseReleasePostgres, owner); err != nil {
		return fmt.Errorf("release outbox shards: %w", err)
	}
	return nil
}

func checkLease(owner string, shards int, ttl time.Duration) error {
	if owner == "" || shards < 1 || shards > presenceBase || ttl <= 0 {
		return fmt.Errorf("lease outbox shards: owner %q, %d shards (1 to %d), ttl %v", owner, shards, presenceBase, ttl)
	}
	return nil
}
