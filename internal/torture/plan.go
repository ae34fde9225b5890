package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Modes of a run.
const (
	Split    = "split"
	Embedded = "embedded"
)

// Names of our own processes, and of the servers that they stand on.
const (
	postgresName = "postgres"
	brokerName   = "rabbitmq"
	upName       = "up"
)

var (
	chatNames      = []string{"chatroom-1", "chatroom-2"}
	persisterNames = []string{"persister-1", "persister-2"}
)

// step is one fault of a plan. Plan and seed say the same run again, as far as clocks and kernels let it.
type step struct {
	at, lasts    time.Duration // lasts is 0 for what happens in an instant
	kind, target string
	arg          string // a crash point, or how many bytes an order waits for
}

// kind is a kind of faults: how often it is dealt, for how long it lasts, and whom it meets. What it does stands in
// faults.go under its name.
type kind struct {
	name     string
	cards    int // in a deck
	min, max time.Duration
	targets  []string
	arg      func(rng *rand.Rand, target string) string
	// recovery is what a broker or database needs to come back, by which the plan keeps two faults of one thing apart.
	recovery time.Duration
}

// links of the split mode: who talks to whom, through a proxy each.
func splitLinks() []string {
	var links []string
	for _, c := range chatNames {
		links = append(links, "clients→"+c, c+"→"+postgresName, c+"→"+brokerName, c+"→history")
	}
	for _, p := range persisterNames {
		links = append(links, p+"→"+postgresName, p+"→"+brokerName)
	}
	return links
}

func embeddedLinks() []string { return []string{"clients→" + upName} }

// kinds lists what can go wrong in a mode.
func kinds(mode string) []kind {
	parts, links := slices.Concat(chatNames, persisterNames), splitLinks()
	if mode == Embedded {
		parts, links = []string{upName}, embeddedLinks()
	}
	all := []kind{
		{name: "kill", cards: 4, targets: parts},
		{name: "crash", cards: 4, targets: parts, arg: crashPoint},
		{name: "stop", cards: 2, targets: parts},
		{name: "cut", cards: 2, targets: links},
		{name: "half request", cards: 3, targets: links, arg: chunk},
		{name: "answer lost", cards: 4, targets: links, arg: chunk},
		{name: "half answer", cards: 2, targets: links, arg: chunk},
		{name: "stall", cards: 2, min: time.Second, max: 5 * time.Second, targets: links},
		{name: "slow", cards: 1, min: 2 * time.Second, max: 5 * time.Second, targets: links},
		{name: "refuse", cards: 1, min: time.Second, max: 3 * time.Second, targets: links},
	}
	if mode == Embedded {
		return append(all, kind{name: "pause", cards: 1, min: time.Second, max: 3 * time.Second, targets: parts})
	}
	broker, database := []string{brokerName}, []string{postgresName}
	return append(all,
		// Longer than the lease of a shard: another chat room takes it over, and then the first one comes back.
		kind{name: "pause", cards: 1, min: 11 * time.Second, max: 13 * time.Second, targets: chatNames},
		kind{name: "pause", cards: 1, min: 2 * time.Second, max: 4 * time.Second, targets: persisterNames},
		kind{name: "pause", cards: 1, min: 2 * time.Second, max: 4 * time.Second, targets: slices.Concat(broker, database)},
		kind{name: "stop server", cards: 1, min: time.Second, max: 3 * time.Second, targets: broker, recovery: 12 * time.Second},
		kind{name: "kill server", cards: 1, targets: broker, recovery: 12 * time.Second},
		kind{name: "wipe server", cards: 1, targets: broker, recovery: 12 * time.Second},
		kind{name: "full disk", cards: 1, min: 2 * time.Second, max: 5 * time.Second, targets: broker, recovery: 4 * time.Second},
		kind{name: "kill server", cards: 2, targets: database, recovery: 3 * time.Second},
		kind{name: "delete queue", cards: 1, targets: broker, recovery: 3 * time.Second},
		kind{name: "poison", cards: 2, targets: broker},
	)
}

// crashPoint picks a place on the way of a message in the part's own code, and a passage.
func crashPoint(rng *rand.Rand, target string) string {
	accepting := []string{"accept-begun", "accept-committed", "window-fetched", "window-confirmed", "window-marked", "stored-removed"}
	storing := []string{"insert-begun", "insert-committed", "watermark-advanced"}
	points := slices.Concat(accepting, storing)
	switch {
	case slices.Contains(chatNames, target):
		points = accepting
	case slices.Contains(persisterNames, target):
		points = storing
	}
	return fmt.Sprintf("%s:%d", points[rng.IntN(len(points))], 1+rng.IntN(20))
}

// chunk is how many bytes must come in one piece: small ones are keep-alives and heartbeats, an accepting transaction has
// some hundreds.
func chunk(rng *rand.Rand, _ string) string { return fmt.Sprint([]int{2, 64, 600}[rng.IntN(3)]) }

// quiet is how long a run goes on without faults at its beginning.
const quiet = time.Second

// plan deals a deck of all kinds, again and again, over the time of a run. Two faults never meet one thing at a time. only
// names the faults to take, as KIND or KIND:TARGET; empty means all, and "none" none.
func plan(mode string, seed uint64, during time.Duration, only []string) ([]step, error) {
	rng := rand.New(rand.NewPCG(seed, 0x676f63686174)) //nolint:gosec // a plan must be the same again
	deck, err := deal(kinds(mode), only)
	if err != nil {
		return nil, fmt.Errorf("in %s mode: %w", mode, err)
	}
	if len(deck) == 0 {
		return nil, nil
	}
	pace := 1500 * time.Millisecond
	if mode == Embedded {
		pace = 800 * time.Millisecond
	}
	var steps []step
	busy := make(map[string]time.Duration) // until when a thing has its fault
	at := quiet
	for at < during {
		rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		for _, k := range deck {
			if at >= during {
				break
			}
			s := step{at: at, kind: k.name, target: k.targets[rng.IntN(len(k.targets))]}
			if k.max > 0 {
				s.lasts = k.min + below(rng, k.max-k.min+1)
			}
			if k.arg != nil {
				s.arg = k.arg(rng, s.target)
			}
			at += pace/2 + below(rng, pace)
			if s.at < busy[s.target] {
				continue // its place in the row is lost, so that the others keep theirs
			}
			busy[s.target] = s.at + s.lasts + k.recovery
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// CheckFaults tells what is wrong with a list of faults for a mode; see [Config].
func CheckFaults(mode string, only []string) error {
	_, err := deal(kinds(mode), only)
	return err
}

// deal makes the deck.
func deal(all []kind, only []string) ([]kind, error) {
	if slices.Equal(only, []string{"none"}) {
		return nil, nil
	}
	var deck []kind
	known := make(map[string]bool)
	for _, k := range all {
		var targets []string
		for _, t := range k.targets {
			known[k.name], known[k.name+":"+t] = true, true
			if len(only) == 0 || slices.Contains(only, k.name) || slices.Contains(only, k.name+":"+t) {
				targets = append(targets, t)
			}
		}
		k.targets = targets
		for range k.cards {
			if len(targets) > 0 {
				deck = append(deck, k)
			}
		}
	}
	for _, o := range only {
		if !known[o] {
			var names, targets []string
			for _, k := range all {
				names, targets = append(names, k.name), append(targets, k.targets...)
			}
			return nil, fmt.Errorf("no fault %q; there are %s, and each with one target only, such as %s:%s", o,
				strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ", "), names[0], targets[0])
		}
	}
	return deck, nil
}

func below(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
