package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Queued is a message that is not known to be accepted.
type Queued struct {
	ID   string    `json:"id"`
	Room string    `json:"room"`
	Text string    `json:"text"`
	At   time.Time `json:"at"` // when it was queued, UTC
}

// queueLine is a line of the file: a message, or the end of one.
type queueLine struct {
	Queued
	Done string `json:"done,omitempty"` // the id of a message that needs no sending any more
}

// Queue is a file of messages that survives the process: one file for each server and user, JSON lines, mode 0600. A
// message is on the disk before [Queue.Add] returns. Several processes may use one file: each operation locks it. What a
// process leaves behind is there for the next one; where two send the same message, its id makes it one.
//
// A line says that a message waits or that it is done; the file is written anew without the done ones every 1000 of
// them and at [Queue.Close], and removed when nothing waits.
type Queue struct {
	path string
	done int // since the last compaction
}

const compactEvery = 1000

// QueueFile is the name of a queue's file: readable, and different for each server and user.
func QueueFile(server, user string) string {
	host := server
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		host = u.Scheme + "://" + u.Host + strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/ws")
		if u.RawQuery != "" {
			host += "?" + u.RawQuery
		}
	}
	sum := sha256.Sum256([]byte(host + "\x00" + user))
	safe := func(s string) string {
		s = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
				return r
			}
			return '_'
		}, s)
		return s[:min(len(s), 40)]
	}
	_, name, _ := strings.Cut(host, "://")
	return safe(user) + "@" + safe(name) + "-" + hex.EncodeToString(sum[:6]) + ".jsonl"
}

// OpenQueue opens the queue of a server and user in dir, which it makes (mode 0700) where it is missing, and returns what
// earlier processes left, oldest first.
func OpenQueue(dir, server, user string) (*Queue, []Queued, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("queue: %w", err)
	}
	q := &Queue{path: filepath.Join(dir, QueueFile(server, user))}
	left, err := q.compact()
	if err != nil {
		return nil, nil, err
	}
	return q, left, nil
}

// Path is the queue's file. It exists only while something waits.
func (q *Queue) Path() string { return q.path }

// Add writes messages down. On return without an error they are on the disk.
func (q *Queue) Add(messages ...Queued) error {
	var b bytes.Buffer
	for _, m := range messages {
		if err := writeLine(&b, queueLine{Queued: m}); err != nil {
			return err
		}
	}
	return q.locked(func() error { return q.append(b.Bytes(), true) })
}

// Done notes that messages need no sending any more. A crash may forget that; then they are sent again, with their id.
func (q *Queue) Done(ids ...string) error {
	var b bytes.Buffer
	for _, id := range ids {
		if err := writeLine(&b, queueLine{Done: id}); err != nil {
			return err
		}
	}
	if q.done += len(ids); q.done >= compactEvery {
		if err := q.locked(func() error { return q.append(b.Bytes(), false) }); err != nil {
			return err
		}
		_, err := q.compact()
		return err
	}
	return q.locked(func() error { return q.append(b.Bytes(), false) })
}

// Close writes the file anew with what still waits, and returns that.
func (q *Queue) Close() ([]Queued, error) { return q.compact() }

// append adds whole lines. A line that a dying process left half written was never on its way, and is cut off.
func (q *Queue) append(b []byte, sync bool) (err error) {
	f, err := os.OpenFile(q.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.WriteAt(b, end)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if err == nil && sync && end == 0 {
		err = syncDir(filepath.Dir(q.path))
	}
	if err != nil {
		return fmt.Errorf("queue %s: %w", q.path, err)
	}
	return nil
}

// wholeLines returns the length of the file up to its last line end.
func wholeLines(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	block := make([]byte, 8<<10)
	for size > 0 {
		from := max(0, size-int64(len(block)))
		part := block[:size-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		size = from
	}
	return 0, nil
}

// compact reads the file and leaves in it only what waits.
func (q *Queue) compact() (left []Queued, err error) {
	q.done = 0
	err = q.locked(func() error {
		b, err := os.ReadFile(q.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("queue: %w", err)
		}
		if left, err = parseQueue(q.path, b); err != nil {
			return err
		}
		if len(left) == 0 {
			if err := os.Remove(q.path); err != nil {
				return fmt.Errorf("queue: %w", err)
			}
			return nil
		}
		return q.replace(left)
	})
	return left, err
}

// replace writes a new file and puts it in the place of the old one.
func (q *Queue) replace(left []Queued) error {
	var b bytes.Buffer
	for _, m := range left {
		if err := writeLine(&b, queueLine{Queued: m}); err != nil {
			return err
		}
	}
	tmp := q.path + ".new"
	err := writeSynced(tmp, b.Bytes())
	if err == nil {
		err = os.Rename(tmp, q.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(q.path))
	}
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// parseQueue reads the lines. A last line without its end was never on its way; any other that cannot be read is a
// damage that a person must look at, since a message is in it.
func parseQueue(path string, b []byte) ([]Queued, error) {
	var all []Queued
	at := make(map[string]int) // of the ids that wait
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			break
		}
		b = rest
		var l queueLine
		if err := json.Unmarshal(line, &l); err != nil || (l.Done == "" && (l.ID == "" || l.Room == "")) {
			return nil, fmt.Errorf("queue %s: line %d cannot be read; mend the file or move it away", path, n)
		}
		if l.Done != "" {
			delete(at, l.Done)
		} else if _, again := at[l.ID]; !again {
			at[l.ID] = len(all)
			all = append(all, l.Queued)
		}
	}
	var waiting []Queued
	for i, m := range all {
		if j, ok := at[m.ID]; ok && i == j {
			waiting = append(waiting, m)
		}
	}
	return waiting, nil
}

func writeLine(b *bytes.Buffer, l queueLine) error {
	var v any = l.Queued
	if l.Done != "" {
		v = struct {
			Done string `json:"done"`
		}{l.Done}
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

// locked runs f while this process holds the lock, which is a file of its own: the queue's file is replaced.
func (q *Queue) locked(f func() error) (err error) {
	lock, err := os.OpenFile(q.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	// Closing the file gives up the lock.
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("lock queue %s: %w", q.path, err)
	}
	return f()
}
