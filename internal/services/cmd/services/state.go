//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// state remembers what up started, so that down stops that and nothing else.
type state struct {
	Compose    string              `json:"compose,omitempty"`    // folder of the compose.yml
	Containers []string            `json:"containers,omitempty"` // its services
	Clusters   [][2]string         `json:"clusters,omitempty"`   // Debian's PostgreSQL clusters: version, name
	RabbitMQ   bool                `json:"rabbitmq,omitempty"`   // the distribution's broker
	Programs   []services.Detached `json:"programs,omitempty"`   // own servers, in the order to stop them
}

// places are the files of up and down.
type places struct {
	state string // file that remembers what runs
	data  string // folder for the data of own servers
}

// defaultPlaces are below the user's cache folder, or the temporary one for users without a home. Root's servers run as
// other users, who cannot enter root's home.
func defaultPlaces() places {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "gochat")
	at := places{state: filepath.Join(dir, "services.json"), data: filepath.Join(dir, "services")}
	if os.Geteuid() == 0 {
		at.data = "/var/lib/gochat-services"
	}
	return at
}

func loadState(path string) (state, error) {
	var s state
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read what is running: %w", err)
	}
	return s, nil
}

func (s state) save(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// Renamed into place: a half-written file would hide running servers.
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// add notes a service of a compose.yml. Another folder's are the same containers: Compose knows them by the project's name.
func (s *state) add(dir, service string) {
	s.Compose = dir
	if !slices.Contains(s.Containers, service) {
		s.Containers = append(s.Containers, service)
	}
}

func (s state) empty() bool {
	return s.Compose == "" && len(s.Clusters) == 0 && !s.RabbitMQ && len(s.Programs) == 0
}
