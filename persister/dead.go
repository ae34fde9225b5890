package persister

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

// DeadLetters keeps what was refused for good in the persister's SQLite file, for an installation without a broker. A
// letter is known by its key; the same key again counts up its attempts and keeps when it was first seen.
type DeadLetters struct {
	writer *sql.DB
	reader *sql.DB
}

// NewDeadLetters makes it on a migrated file; writer may be nil where only List is called. The handles stay the caller's.
func NewDeadLetters(writer, reader *sql.DB) *DeadLetters { return &DeadLetters{writer, reader} }

const (
	deadPutSQL = `
INSERT INTO dead_letters (key, event_id, type, content_type, carrier, topic, reason, attempts, first_seen, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET attempts = attempts + excluded.attempts, reason = excluded.reason, carrier = excluded.carrier`
	deadListSQL = `
SELECT id, key, event_id, type, content_type, carrier, topic, reason, attempts, first_seen, body
FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?`
	deadPage = 64
)

// Put commits the letters.
func (d *DeadLetters) Put(ctx context.Context, letters []events.DeadLetter) error {
	err := inTx(ctx, d.writer, func(tx *sql.Tx) error {
		for _, l := range letters {
			if _, err := tx.ExecContext(ctx, deadPutSQL, l.Key, l.ID, l.Type, l.ContentType, l.Carrier, l.Topic, l.Reason,
				max(l.Attempts, 1), l.FirstSeen.UnixMicro(), notNil(l.Body)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep %d dead letters: %w", len(letters), err)
	}
	return nil
}

// notNil keeps an empty body from becoming NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// List shows the letters, the longest known first, until visit wants no more. It holds no transaction meanwhile.
func (d *DeadLetters) List(ctx context.Context, visit func(events.DeadLetter) (more bool, err error)) error {
	for after, more := int64(0), true; more; {
		page, last, err := d.page(ctx, after)
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		after, more = last, len(page) == deadPage
		for _, l := range page {
			goOn, err := visit(l)
			if err != nil || !goOn {
				return err
			}
		}
	}
	return nil
}

func (d *DeadLetters) page(ctx context.Context, after int64) (page []events.DeadLetter, last int64, err error) {
	rows, err := d.reader.QueryContext(ctx, deadListSQL, after, deadPage)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var l events.DeadLetter
		var seen int64
		if err := rows.Scan(&last, &l.Key, &l.ID, &l.Type, &l.ContentType, &l.Carrier, &l.Topic, &l.Reason, &l.Attempts, &seen, &l.Body); err != nil {
			return nil, 0, err
		}
		l.FirstSeen = time.UnixMicro(seen).UTC()
		page = append(page, l)
	}
	return page, last, rows.Err()
}

// Remove forgets a letter; one that is not there is no error.
func (d *DeadLetters) Remove(ctx context.Context, key string) error {
	if _, err := d.writer.ExecContext(ctx, `DELETE FROM dead_letters WHERE key = ?`, key); err != nil {
		return fmt.Errorf("remove the dead letter %s: %w", key, err)
	}
	return nil
}
