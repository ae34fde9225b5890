package events

import (
	"errors"
	"fmt"
	"time"
)

// DeadLetter is what a poison queue holds: an event that could not be stored for good, or a whole message whose events
// could not even be told apart.
type DeadLetter struct {
	Key         string    // names the letter in its poison queue; equal for the same letter at every look
	ID          string    // the event's id (see [EventID]), otherwise that of the message; cut off after 255 bytes, as the type
	Type        string    // as its sender had it; may be empty
	ContentType string    // likewise
	Carrier     string    // id of the message that held the event
	Topic       string    // routing key of that message; may be empty
	Reason      string    // why it was refused; cut off after 4 KiB
	Attempts    int       // how often it was handled; 0: not known
	FirstSeen   time.Time // UTC; zero: not known
	Body        []byte    // exactly what was refused
}

// Events reads what the letter holds: the events that are readable, and an error for the rest. A letter with an error,
// which wraps [ErrMalformed], would be refused again whatever the consumer's database says.
func (d DeadLetter) Events() ([]MessageSent, error) {
	parts, err := Split(d.ContentType, d.Body)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: it holds no event", ErrMalformed)
	}
	var evs []MessageSent
	var bad []error
	for _, p := range parts {
		m, err := DecodeMessageSent(p)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		evs = append(evs, m)
	}
	if len(bad) > 1 {
		return evs, fmt.Errorf("%d of %d events: %w", len(bad), len(parts), bad[0])
	}
	return evs, errors.Join(bad...)
}
