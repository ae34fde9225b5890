package torture

import (
	"context"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/torture/report"
)

// sampler looks at the journal once a second.
type sampler struct {
	journal *journal
	tell    func(Progress)
	active  func() []string // faults under way
	samples []report.Sample // read after end

	mu   sync.Mutex
	name string // of the phase; guarded by mu

	wg   sync.WaitGroup
	stop context.CancelFunc
}

func newSampler(j *journal, tell func(Progress), active func() []string) *sampler {
	return &sampler{journal: j, tell: tell, active: active}
}

func (s *sampler) start(phase string) {
	s.name = phase
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.wg.Go(func() { s.run(ctx) })
}

func (s *sampler) phase(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = name
}

func (s *sampler) end() {
	if s.stop != nil {
		s.stop()
		s.wg.Wait()
	}
}

func (s *sampler) run(ctx context.Context) {
	var at time.Duration
	var accepted, stored, delivered int64
	for pause(ctx, time.Second) {
		j := s.journal
		now := j.now()
		a, st, waiting := j.totals()
		d := j.delivered.Load()
		per := func(now, before int64, over time.Duration) float64 { return float64(now-before) / over.Seconds() }
		sample := report.Sample{
			AtMS: now.Milliseconds(), Accepted: per(a, accepted, now-at), Stored: per(st, stored, now-at), Delivered: per(d, delivered, now-at),
			Unstored: waiting, P99MS: float64(j.takeLatencies().Microseconds()) / 1000,
			Writers: int(j.writers.Load()), Readers: int(j.readers.Load()),
		}
		at, accepted, stored, delivered = now, a, st, d
		s.samples = append(s.samples, sample)
		s.mu.Lock()
		phase := s.name
		s.mu.Unlock()
		s.tell(Progress{Sample: sample, Phase: phase, Accepted: a, Active: s.active()})
	}
}
