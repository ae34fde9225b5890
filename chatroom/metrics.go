package chatroom

import "github.com/prometheus/client_golang/prometheus"

// metrics are the chat room's own; names end in their unit.
type metrics struct {
	connections prometheus.Gauge
	batch       prometheus.Histogram
	commit      prometheus.Histogram
	refused     prometheus.Counter
	delivered   prometheus.Counter
	catchUp     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gochat_connections", Help: "WebSocket connections open now.",
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gochat_accept_batch_messages", Help: "Messages committed together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gochat_accept_seconds", Help: "Time to commit a batch.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gochat_accept_refused_total", Help: "Sends answered unavailable since the database did not take them.",
		}),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gochat_delivered_events_total", Help: "Events written to connections.",
		}),
		catchUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gochat_catch_up_pages_total", Help: "Pages read from the databases for readers behind the recent events.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.connections, m.batch, m.commit, m.refused, m.delivered, m.catchUp)
	}
	return m
}
