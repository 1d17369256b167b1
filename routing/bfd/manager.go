package bfd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/internal/deadline"
)

const (
	// late is how much after its time a timer may fire before the process counts as busy, grace what packets get then to be read.
	late  = 5 * time.Millisecond
	grace = 10 * time.Millisecond
	// company is how many sessions send at the same time at the most.
	company = 16
	// waiting is how many packets may wait while a goroutine holds the Manager.
	waiting = 64
)

// The errors of a Manager.
var (
	ErrExists    = errors.New("there is a BFD session with this neighbour already")
	ErrNoSession = errors.New("there is no BFD session with this neighbour")
)

// Transport sends control packets: UDP to port 3784 from a port of 49152 or higher, with TTL or hop limit 255. Send must not
// block nor call the Manager back; a packet that cannot be sent is lost, as on the way. The owner of the transport calls
// Manager.Receive for what arrives at port 3784.
type Transport interface {
	Send(to netip.Addr, packet []byte) error
}

// Event is a Change of a neighbour's session.
type Event struct {
	Peer netip.Addr
	At   time.Time
	Change
}

// ManagerConfig is what a Manager needs.
type ManagerConfig struct {
	Transport Transport
	// Event is told of each change of state, in order, from a goroutine of Run's, a while after Sessions shows it. It may call the
	// Manager.
	Event func(Event)
	// Rand is for discriminators and jitter; nil is one seeded by the system. It is used under a lock.
	Rand *rand.Rand
}

// Manager has the sessions over one transport, one for each neighbour's address.
type Manager struct {
	config ManagerConfig
	wake   chan struct{}
	// inbox has what was offered while mu was held: whoever holds it takes that up before unlock.
	inbox chan arrival
	lost  atomic.Uint64

	mu     sync.Mutex
	peers  map[netip.Addr]*session
	local  map[uint32]*session
	due    deadline.Queue[*session] // by their next tick
	events []Event
	// until is when Run looks again by itself, zero is never. It is not to be woken while it is looking.
	until   time.Time
	looking bool
	drops   [Drops]uint64
	failed  uint64
}

type session struct {
	deadline.Slot
	peer           netip.Addr
	machine        *Machine
	since          time.Time
	spared         bool // the grace was given
	sent, received uint64
}

// NewManager returns a Manager without sessions. Their timers run while Run does.
func NewManager(config ManagerConfig) *Manager {
	if config.Rand == nil {
		config.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return &Manager{config: config, wake: make(chan struct{}, 1), inbox: make(chan arrival, waiting), peers: map[netip.Addr]*session{}, local: map[uint32]*session{}}
}

// Run keeps the sessions until the context ends. Then all sessions go to AdminDown, each neighbour is told once, and the Manager is
// empty. Events are told while Run runs, one after the other; an Event that takes long keeps no session waiting.
func (m *Manager) Run(ctx context.Context) error {
	news, told := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(told)
		for range news {
			m.tell()
		}
		m.tell()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Stop()
		at, events := m.tick()
		if !at.IsZero() {
			timer.Reset(time.Until(at))
		}
		if events {
			select {
			case news <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			m.leave()
			close(news)
			<-told
			return nil
		case <-m.wake:
		case <-timer.C:
		}
	}
}

// tell hands events over, without the lock.
func (m *Manager) tell() {
	m.mu.Lock()
	events := m.events
	m.events = nil
	m.unlock()
	for _, e := range events {
		if m.config.Event != nil {
			m.config.Event(e)
		}
	}
}

// tick does what is due and returns when there is more, and whether there are events to be told.
func (m *Manager) tick() (at time.Time, events bool) {
	m.mu.Lock()
	defer m.unlock()
	m.looking = true
	defer func() { m.looking, m.until = false, at }()
	for {
		s, at := m.due.First()
		now := time.Now()
		if at.IsZero() || at.After(now) {
			return at, len(m.events) > 0
		}
		expiry := s.machine.Expiry()
		if !s.spared && !expiry.IsZero() && now.Sub(expiry) > late {
			// What is to be sent goes, but the neighbour's packets may wait to be read.
			s.spared = true
			s.machine.Tick(expiry.Add(-1))
			m.after(s, now)
			m.due.Set(s, now.Add(grace))
			continue
		}
		s.machine.Tick(now)
		m.after(s, now)
		m.accompany(s, now)
	}
}

// accompany has sessions send that may do so already when one has: to be woken costs more than to send. The few that send together
// go on doing so, as they take over its jitter.
func (m *Manager) accompany(first *session, now time.Time) {
	for i := 1; i < company; i++ {
		s, at := m.due.First()
		if at.IsZero() || s == first || !s.machine.accompany(first.machine, now) {
			return
		}
		m.after(s, now)
	}
}

// after carries out what the machine of a session wants. It is called with mu held.
func (m *Manager) after(s *session, now time.Time) {
	packets, changes := s.machine.Take()
	for _, b := range packets {
		s.sent++
		if m.config.Transport.Send(s.peer, b) != nil {
			m.failed++
		}
	}
	for _, c := range changes {
		s.since = now
		m.events = append(m.events, Event{Peer: s.peer, At: now, Change: c})
	}
	m.due.Set(s, s.machine.Deadline())
	_, at := m.due.First()
	sooner := !at.IsZero() && (m.until.IsZero() || at.Before(m.until))
	if !m.looking && (len(changes) > 0 || sooner) {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

func (m *Manager) leave() {
	m.mu.Lock()
	defer m.unlock()
	for _, s := range m.peers {
		m.drop(s, time.Now())
	}
}

func (m *Manager) drop(s *session, now time.Time) {
	s.machine.Disable(now)
	m.after(s, now)
	m.due.Set(s, time.Time{})
	delete(m.peers, s.peer)
	delete(m.local, s.machine.local)
}

// Add begins a session with a neighbour; a link-local address has its zone.
func (m *Manager) Add(peer netip.Addr, config Config) error {
	if err := config.Check(); err != nil {
		return err
	}
	peer = peer.Unmap()
	m.mu.Lock()
	defer m.unlock()
	if !peer.IsValid() || m.peers[peer] != nil {
		return fmt.Errorf("%w: %v", ErrExists, peer)
	}
	var discriminator uint32
	for discriminator == 0 || m.local[discriminator] != nil {
		discriminator = m.config.Rand.Uint32()
	}
	now := time.Now()
	s := &session{peer: peer, machine: NewMachine(config, discriminator, m.config.Rand, now), since: now}
	m.peers[peer], m.local[discriminator] = s, s
	m.after(s, now)
	return nil
}

// Set changes what a session wants.
func (m *Manager) Set(peer netip.Addr, config Config) error {
	if err := config.Check(); err != nil {
		return err
	}
	return m.do(peer, func(s *session, now time.Time) { s.machine.Set(config, now) })
}

// Disable has a session AdminDown until Enable.
func (m *Manager) Disable(peer netip.Addr) error {
	return m.do(peer, func(s *session, now time.Time) { s.machine.Disable(now) })
}

// Enable is the opposite of Disable.
func (m *Manager) Enable(peer netip.Addr) error {
	return m.do(peer, func(s *session, now time.Time) { s.machine.Enable(now) })
}

// PathDown says that the path to the neighbour is known to be down.
func (m *Manager) PathDown(peer netip.Addr) error {
	return m.do(peer, func(s *session, now time.Time) { s.machine.PathDown(now) })
}

// Remove ends a session; the neighbour is told AdminDown.
func (m *Manager) Remove(peer netip.Addr) error {
	return m.do(peer, func(s *session, now time.Time) { m.drop(s, now) })
}

func (m *Manager) do(peer netip.Addr, f func(*session, time.Time)) error {
	m.mu.Lock()
	defer m.unlock()
	s := m.peers[peer.Unmap()]
	if s == nil {
		return fmt.Errorf("%w: %v", ErrNoSession, peer)
	}
	now := time.Now()
	f(s, now)
	if m.peers[s.peer] == s {
		m.after(s, now)
	}
	return nil
}

// arrival is a packet that waits to be taken up. No control packet is longer.
type arrival struct {
	from   netip.Addr
	packet [255]byte
	size   uint8
	ttl    uint8
}

// Receive takes up the payload of a datagram that arrived at port 3784, with its TTL or hop limit. The packet is not kept.
func (m *Manager) Receive(from netip.Addr, packet []byte, ttl uint8) Drop {
	m.mu.Lock()
	defer m.unlock()
	return m.take(from, packet, ttl)
}

// Offer is Receive for callers that must not wait, as a worker must not: a packet that comes while another goroutine holds the Manager
// is copied, for that goroutine to take up. It is lost where too many wait already.
func (m *Manager) Offer(from netip.Addr, packet []byte, ttl uint8) {
	if m.mu.TryLock() {
		defer m.unlock()
		m.take(from, packet, ttl)
		return
	}
	a := arrival{from: from, ttl: ttl}
	a.size = uint8(copy(a.packet[:], packet))
	select {
	case m.inbox <- a:
	default:
		m.lost.Add(1)
	}
	select { // the other goroutine may have looked just before
	case m.wake <- struct{}{}:
	default:
	}
}

// unlock takes up what was offered meanwhile, and lets go of mu. What comes even then wakes Run.
func (m *Manager) unlock() {
	defer m.mu.Unlock()
	for range waiting {
		select {
		case a := <-m.inbox:
			m.take(a.from, a.packet[:a.size], a.ttl)
		default:
			return
		}
	}
}

// take is called with mu held.
func (m *Manager) take(from netip.Addr, packet []byte, ttl uint8) Drop {
	drop := m.receive(from.Unmap(), packet, ttl, time.Now())
	m.drops[drop]++
	return drop
}

func (m *Manager) receive(from netip.Addr, packet []byte, ttl uint8, now time.Time) Drop {
	if ttl != 255 {
		return DropTTL
	}
	p, drop := Parse(packet)
	if drop != Accepted {
		return drop
	}
	s := m.peers[from]
	if p.YourDiscriminator != 0 {
		s = m.local[p.YourDiscriminator]
	}
	if s == nil || s.peer != from {
		return DropUnknown
	}
	if drop = s.machine.receive(packet, ttl, now, s.spared); drop == Accepted {
		s.received++
		s.spared = false
	}
	m.after(s, now)
	return drop
}

// Session is what a session shows.
type Session struct {
	Peer  netip.Addr
	Since time.Time // of the state
	Status
	Sent, Received uint64
}

// Sessions returns all sessions, by address.
func (m *Manager) Sessions() []Session {
	m.mu.Lock()
	defer m.unlock()
	list := make([]Session, 0, len(m.peers))
	for _, s := range m.peers {
		list = append(list, Session{Peer: s.peer, Since: s.since, Status: s.machine.Status(), Sent: s.sent, Received: s.received})
	}
	slices.SortFunc(list, func(a, b Session) int { return a.Peer.Compare(b.Peer) })
	return list
}

// Dropped returns how many packets were received, by Drop, accepted ones included, and how many could not be sent.
func (m *Manager) Dropped() (received [Drops]uint64, unsent uint64) {
	m.mu.Lock()
	defer m.unlock()
	received = m.drops
	received[DropBusy] += m.lost.Load()
	return received, m.failed
}
