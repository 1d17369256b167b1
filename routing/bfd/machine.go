package bfd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// slow is the least DesiredMinTx of a session that is not Up (RFC 5880 section 6.8.3).
const slow = time.Second

// ErrConfig is wrapped by what Config.Check says.
var ErrConfig = errors.New("BFD cannot run like this")

// Config is what a session wants.
type Config struct {
	// DesiredMinTx and RequiredMinRx are the intervals at which we would like to send and can receive: 1 ms to 1 h.
	DesiredMinTx, RequiredMinRx time.Duration
	// DetectMult is after how many missing packets the neighbour gives us up.
	DetectMult uint8
	// Passive sends nothing before the neighbour was heard (RFC 5880 section 6.1).
	Passive bool
}

// Check returns an error that says what is wrong with the configuration.
func (c *Config) Check() error {
	for _, i := range [...]struct {
		name  string
		value time.Duration
	}{{"desired transmit", c.DesiredMinTx}, {"required receive", c.RequiredMinRx}} {
		if i.value < time.Millisecond || i.value > time.Hour {
			return fmt.Errorf("%w: the %s interval is %v, want 1ms to 1h", ErrConfig, i.name, i.value)
		}
	}
	if c.DetectMult == 0 {
		return fmt.Errorf("%w: the detect multiplier is 0, want 1 to 255", ErrConfig)
	}
	return nil
}

// Change is the event of a session's life: its state changed.
type Change struct {
	From, To State
	// Diag says why it went down; Remote and RemoteDiag are what the neighbour says. A neighbour that is AdminDown does
	// not want its routes taken away (RFC 5882 section 4.2).
	Diag       Diag
	Remote     State
	RemoteDiag Diag
}

// Machine is one session: RFC 5880 section 6.8 without sockets, goroutines and clock. Methods take what happened and when;
// Take says what is to be sent and what changed, Deadline when to call Tick. One goroutine at a time may call them, with
// times that do not go back.
type Machine struct {
	config Config
	rand   *rand.Rand

	state, remoteState State
	diag, remoteDiag   Diag
	local, remote      uint32 // discriminators; that of the remote is 0 until it is heard

	// What we announce, and what is in use until the neighbour has confirmed (RFC 5880 section 6.8.3).
	desired, usedTx  time.Duration
	required, usedRx time.Duration

	remoteDesired, remoteRequired time.Duration
	remoteMult                    uint8
	remoteDemand                  bool

	// polling says that a Poll Sequence goes on; again that another is to follow, as parameters changed meanwhile.
	polling, again bool

	heard    time.Time // when the last packet was accepted; zero if remote is 0
	sent     time.Time
	fraction float64   // of the interval at which the next packet goes
	farewell time.Time // until when AdminDown is announced
	last     [Size]byte

	packets [][]byte
	changes []Change
}

// NewMachine returns a session in state Down, with a discriminator of ours that is not 0 and no other session's. The configuration
// has passed its Check. rnd is for jitter.
func NewMachine(config Config, discriminator uint32, rnd *rand.Rand, now time.Time) *Machine {
	m := &Machine{config: config, rand: rnd, local: discriminator, state: Down, remoteState: Down,
		required: config.RequiredMinRx, usedRx: config.RequiredMinRx}
	m.desired = max(config.DesiredMinTx, slow)
	m.usedTx = m.desired
	m.forget()
	// The first packet goes at once, give or take: many sessions begin together.
	m.sent = now.Add(-m.interval())
	m.fraction = 1 + 0.1*rnd.Float64()
	return m
}

// forget is RFC 5880 section 6.8.1 for a neighbour that was not heard for a Detection Time.
func (m *Machine) forget() {
	m.remote, m.heard = 0, time.Time{}
	m.remoteState, m.remoteDemand = Down, false
	m.remoteDesired, m.remoteRequired, m.remoteMult = 0, time.Microsecond, 0
	m.polling, m.again = false, false
}

// Take returns what is to be sent and what changed since it was called last.
func (m *Machine) Take() (packets [][]byte, changes []Change) {
	packets, changes = m.packets, m.changes
	m.packets, m.changes = nil, nil
	return packets, changes
}

// enter changes the state.
func (m *Machine) enter(to State, diag Diag, now time.Time) {
	if m.state == to {
		return
	}
	from := m.state
	m.state, m.diag = to, diag
	m.changes = append(m.changes, Change{From: from, To: to, Diag: diag, Remote: m.remoteState, RemoteDiag: m.remoteDiag})
	if to != Up {
		m.usedRx = m.required // nobody needs to confirm it
		if from != Up {
			m.polling, m.again = false, false
		}
	}
	m.setIntervals()
	if to != AdminDown {
		m.farewell = time.Time{}
	}
	m.announce(now)
}

// setIntervals takes the intervals from the configuration, for the state, and has the neighbour confirm what is new.
func (m *Machine) setIntervals() {
	desired, required := m.config.DesiredMinTx, m.config.RequiredMinRx
	if m.state != Up {
		desired = max(desired, slow)
	}
	if desired == m.desired && required == m.required {
		return
	}
	m.desired, m.required = desired, required
	if m.state != Up || desired < m.usedTx {
		m.usedTx = desired
	}
	if m.state != Up || required > m.usedRx {
		m.usedRx = required
	}
	m.poll()
}

// poll begins a Poll Sequence, or has another follow. Nobody would answer before the neighbour is known.
func (m *Machine) poll() {
	switch {
	case m.remote == 0 || m.state == AdminDown:
	case m.polling:
		m.again = true
	default:
		m.polling = true
	}
}

// final ends the Poll Sequence: the neighbour knows our parameters.
func (m *Machine) final(now time.Time) {
	if m.again {
		m.again = false
		m.transmit(now, false)
		return
	}
	m.polling = false
	m.usedTx, m.usedRx = m.desired, m.required
}

// Set changes the configuration, which has passed its Check, with a Poll Sequence if the session is Up.
func (m *Machine) Set(config Config, now time.Time) {
	m.config = config
	m.setIntervals()
	m.announce(now)
}

// Disable goes to AdminDown, and tells the neighbour for a Detection Time.
func (m *Machine) Disable(now time.Time) {
	if m.state != AdminDown {
		m.enter(AdminDown, DiagAdminDown, now)
		m.polling, m.again = false, false
		m.farewell = now.Add(time.Duration(m.config.DetectMult) * m.interval())
	}
}

// Enable leaves AdminDown.
func (m *Machine) Enable(now time.Time) {
	if m.state == AdminDown {
		m.enter(Down, DiagNone, now)
	}
}

// PathDown says that the path is known to be down, before the neighbour's silence shows it.
func (m *Machine) PathDown(now time.Time) {
	if m.state == Up || m.state == Init {
		m.enter(Down, DiagPathDown, now)
	}
}

// Receive takes a packet up (RFC 5880 section 6.8.6), whose discriminator and source were those of this session. The TTL, or
// hop limit, must be 255.
func (m *Machine) Receive(b []byte, ttl uint8, now time.Time) Drop {
	return m.receive(b, ttl, now, false)
}

// receive spares a session whose time is over, if the packet may have waited for us.
func (m *Machine) receive(b []byte, ttl uint8, now time.Time, spare bool) Drop {
	if ttl != 255 {
		return DropTTL
	}
	p, drop := Parse(b)
	switch {
	case drop != Accepted:
		return drop
	case p.Authentication:
		return DropAuthentication
	case p.YourDiscriminator != 0 && p.YourDiscriminator != m.local:
		return DropYourDiscriminator
	case m.state == AdminDown:
		return DropAdminDown
	}
	if !spare {
		m.expire(now)
	}
	m.heard = now
	m.remote, m.remoteState, m.remoteDiag, m.remoteMult = p.MyDiscriminator, p.State, p.Diag, p.DetectMult
	m.remoteDesired, m.remoteRequired, m.remoteDemand = p.DesiredMinTx, p.RequiredMinRx, p.Demand
	if p.Final && m.polling {
		m.final(now)
	}
	m.react(p.State, now)
	if p.Poll {
		m.transmit(now, true)
	}
	m.tick(now)
	return Accepted
}

// react is the state machine of RFC 5880 section 6.2.
func (m *Machine) react(remote State, now time.Time) {
	switch {
	case m.state == Down && remote == Down:
		m.enter(Init, m.diag, now)
	case m.state == Down && remote == Init, m.state == Init && (remote == Init || remote == Up):
		m.enter(Up, DiagNone, now)
	case m.state == Up && remote == Down, m.state != Down && remote == AdminDown:
		m.enter(Down, DiagNeighborDown, now)
	}
}
