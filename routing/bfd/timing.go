package bfd

import (
	"bytes"
	"time"

	"github.com/warrenvpn/warren/internal/deadline"
)

// interval is that of periodic packets, before jitter (RFC 5880 section 6.8.7).
func (m *Machine) interval() time.Duration { return max(m.usedTx, m.remoteRequired) }

// detection is how long the neighbour may be silent (RFC 5880 section 6.8.4).
func (m *Machine) detection() time.Duration {
	return time.Duration(m.remoteMult) * max(m.usedRx, m.remoteDesired)
}

// periodic says whether packets go periodically (RFC 5880 section 6.8.7).
func (m *Machine) periodic() bool {
	switch {
	case m.config.Passive && m.remote == 0, m.remoteRequired == 0:
		return false
	case m.remoteDemand && m.state == Up && m.remoteState == Up:
		return m.polling
	case m.state == AdminDown:
		return !m.farewell.IsZero()
	}
	return true
}

// next is when the next periodic packet goes.
func (m *Machine) next() time.Time {
	return m.sent.Add(time.Duration(float64(m.interval()) * m.fraction))
}

// Expiry is when the Detection Time ends if nothing is heard; zero if there is nothing to end.
func (m *Machine) Expiry() time.Time {
	if m.heard.IsZero() {
		return time.Time{}
	}
	return m.heard.Add(m.detection())
}

// Deadline is when Tick is to be called; zero is never.
func (m *Machine) Deadline() time.Time {
	if !m.periodic() {
		return m.Expiry()
	}
	return deadline.Earliest(m.Expiry(), m.next())
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time) {
	m.expire(now)
	m.tick(now)
}

func (m *Machine) expire(now time.Time) {
	if at := m.Expiry(); at.IsZero() || now.Before(at) {
		return
	}
	m.forget()
	if m.state == Up || m.state == Init {
		m.enter(Down, DiagExpired, now)
	}
}

func (m *Machine) tick(now time.Time) {
	if m.periodic() && !now.Before(m.next()) {
		m.transmit(now, false)
		if m.state == AdminDown && !now.Before(m.farewell) {
			m.farewell = time.Time{}
		}
	}
}

// accompany sends if another machine has just done so and the interval of this one, shortened by a quarter, is over. The other's
// jitter serves both then, so that they stay together and send no more often than alone.
func (m *Machine) accompany(other *Machine, now time.Time) bool {
	if !other.sent.Equal(now) || !m.periodic() || now.Before(m.sent.Add(m.interval()*3/4)) {
		return false
	}
	m.transmit(now, false)
	if m.interval() == other.interval() && m.config.DetectMult > 1 {
		m.fraction = other.fraction
	}
	return true
}

// announce sends at once if the neighbour could read something new, other than Poll and Final (RFC 5880 section 6.8.7).
func (m *Machine) announce(now time.Time) {
	if m.remote == 0 && m.config.Passive || m.remoteRequired == 0 {
		return // we may not begin, or it wants to hear nothing
	}
	var b [Size]byte
	m.write(b[:0], false, false)
	if !bytes.Equal(b[:], m.last[:]) {
		m.transmit(now, false)
	}
}

// transmit sends a packet, with Poll if a sequence goes on, unless it answers a Poll.
func (m *Machine) transmit(now time.Time, final bool) {
	m.write(m.last[:0], false, false)
	m.packets = append(m.packets, m.write(make([]byte, 0, Size), m.polling && !final, final))
	if final && m.periodic() {
		return // it does not take the place of a periodic one, which may have to poll
	}
	m.sent = now
	// 75 to 100 % of the interval; with a multiplier of 1 at most 90 %, as a second packet must come in time.
	m.fraction = 0.75 + 0.25*m.rand.Float64()
	if m.config.DetectMult == 1 {
		m.fraction = 0.75 + 0.15*m.rand.Float64()
	}
}

func (m *Machine) write(b []byte, poll, final bool) []byte {
	p := Packet{State: m.state, Diag: m.diag, Poll: poll, Final: final, DetectMult: m.config.DetectMult, MyDiscriminator: m.local,
		YourDiscriminator: m.remote, DesiredMinTx: m.desired, RequiredMinRx: m.required}
	return p.Append(b)
}

// Status is what a session shows.
type Status struct {
	State, RemoteState State
	Diag, RemoteDiag   Diag
	Local, Remote      uint32 // discriminators
	// Transmit is the interval at which packets go, before jitter; Detection how long the neighbour may be silent.
	Transmit, Detection time.Duration
	// Polling says that the neighbour has not confirmed our parameters yet.
	Polling bool
	// RemoteDemand says that the neighbour wants to hear nothing while all is well.
	RemoteDemand bool
}

// Status returns the current status.
func (m *Machine) Status() Status {
	return Status{State: m.state, RemoteState: m.remoteState, Diag: m.diag, RemoteDiag: m.remoteDiag, Local: m.local, Remote: m.remote,
		Transmit: m.interval(), Detection: m.detection(), Polling: m.polling, RemoteDemand: m.remoteDemand}
}
