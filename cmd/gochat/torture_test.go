//go:build unix

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/torture"
)

// What is told to see a run again says all that the run depends on, and a shell takes its words as they are.
func TestTortureTellsHowToRunItAgain(t *testing.T) {
	t.Parallel()
	cfg := torture.Config{Mode: torture.Embedded, Seed: 7, For: time.Minute, Writers: tortureWriters, Rooms: tortureRooms, Rate: tortureRate}
	if got, want := tortureCommandLine(cfg), "gochat torture --embedded --seed 7 --for 1m0s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got := tortureCommandLine(torture.Config{
		Mode: torture.Split, Seed: 7, For: 90 * time.Second, Writers: 2, Rooms: 1, Rate: 0.5, Faults: []string{"half answer", "kill:persister-1"},
	})
	if want := "gochat torture --split --seed 7 --for 1m30s --writers 2 --rooms 1 --rate 0.5 --faults 'half answer,kill:persister-1'"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTortureTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--split --embedded": "not both",
		"--rate 0":           "proves nothing",
		"now":                `"now"`,
	} {
		_, _, err := call(t, nil, append([]string{"torture"}, strings.Fields(args)...)...)
		if exitCode(err) != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want wrong usage and %q", args, err, want)
		}
	}
}
