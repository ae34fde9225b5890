package events_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rafaeldepontes/go-chat/events"
)

func TestPermanent(t *testing.T) {
	t.Parallel()
	cause := errors.New("conflict")
	marked := events.Permanent(cause)
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"nil", nil, false},
		{"marked nil", events.Permanent(nil), false},
		{"unmarked", cause, false},
		{"marked", marked, true},
		{"wrapped", fmt.Errorf("insert: %w", marked), true},
		{"joined", errors.Join(errors.New("other"), marked), true},
		{"malformed", fmt.Errorf("event: %w", events.ErrMalformed), true},
	} {
		if got := events.IsPermanent(tt.err); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if got, want := marked.Error(), "conflict"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
	if !errors.Is(marked, cause) {
		t.Error("the mark hides its cause")
	}
}
