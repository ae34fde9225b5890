package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// chatConfig tunes the chat room; chatroom and up share it.
type chatConfig struct {
	origins        []string      // browsers' origins beside the own host; "*": any
	sendRate       float64       // messages a second for each user; 0: no limit
	sendBurst      int           // messages
	heartbeat      time.Duration // between the server's pings
	recentEvents   int           // kept in memory for each room
	recentBytes    int64         // kept in memory for each room
	recentTTL      time.Duration // how long a silent room stays in memory
	recentTotal    int64         // kept in memory for all rooms together
	maxConnections int           // 0: no limit
	instance       string        // unique among the replicas
	republishAfter time.Duration // for what was published and is not announced stored
	batchEvents    int           // in one message to the broker, under backlog
}

// declareOrigins declares whose pages may connect.
func declareOrigins(s *config.Set) func() []string {
	origins := s.String("origins", "", "web origins that may connect beside the server's own host, comma separated; *: any",
		config.Value("LIST"), config.Check(config.Origins))
	return func() []string { return config.List(*origins) }
}

func declareChat(s *config.Set) func() chatConfig {
	origins := declareOrigins(s)
	rate := s.Float("send-rate", 20, "messages a second that a user may send; 0: no limit", config.Check(config.NotNegative))
	burst := s.Int("send-burst", 100, "messages that a user may send at once", config.Check(config.AtLeast(1)))
	heartbeat := s.Duration("heartbeat", 25*time.Second, "time between two pings to a client; one that is silent for two of them is cut off",
		config.Check(config.PositiveDuration))
	events := s.Int("recent-events", 1000, "events of a room that are kept in memory", config.Check(config.AtLeast(1)))
	size := s.Size("recent-bytes", 4<<20, "bytes of events of a room that are kept in memory", config.Check(config.AtLeast(1)))
	ttl := s.Duration("recent-ttl", 10*time.Minute, "time after which the events of a silent room leave the memory",
		config.Check(config.PositiveDuration))
	total := s.Size("recent-total", 64<<20, "bytes of events of all rooms together that are kept in memory; the oldest give way",
		config.Check(config.AtLeast(1<<20)))
	connections := s.Int("max-connections", 0, "connections that are served at once; 0: no limit", config.Check(config.AtLeast(0)))
	instance := s.String("instance", "", "name of this process, unique among the chat rooms of one broker; without it the host's name and a random part",
		config.PerCommand(), config.Value("NAME"), config.Check(config.Optional(instanceName)))
	republish := s.Duration("republish-after", 30*time.Second, "time after which a message that was published and is not stored is published again",
		config.Check(config.PositiveDuration))
	batch := s.Int("batch-events", bus.DefaultBatchEvents, "events in one AMQP message under backlog, at most; 1: each alone", config.Check(config.Between(1, outbox.DefaultWindow)))
	return func() chatConfig {
		c := chatConfig{
			republishAfter: *republish, batchEvents: *batch,
			origins: origins(), sendRate: *rate, sendBurst: *burst, heartbeat: *heartbeat,
			recentEvents: *events, recentBytes: *size, recentTTL: *ttl, recentTotal: *total,
			maxConnections: *connections, instance: *instance,
		}
		if c.instance == "" {
			c.instance = hostName() + "-" + uuid.NewString()[:8]
		}
		return c
	}
}

// instanceName keeps the name of a replica's queue typeable.
func instanceName(text string) error {
	if err := topologyPrefix(text); err != nil {
		return fmt.Errorf("the name %w", err)
	}
	return nil
}
