package tun

import "time"

const (
	// dense is how far packets that come densely are apart, on the average of at least some packets: 100,000 a second.
	dense = 10 * time.Microsecond
	some  = 64
	// moment is what a pause is asked to last. It lasts 175 µs where this was measured, and 18 packets come meanwhile.
	moment = 100 * time.Microsecond
	// worthIt is how many packets a pause must have gathered for another one to follow.
	worthIt = 4
)

// moderation makes a worker pause before it reads while packets come so densely that it finds a few each time. Network cards do so
// with their interrupts (adaptive-rx of ethtool). To read seven packets and to send their frames costs nearly as many system calls,
// wake-ups and passes through the kernel, here and at the peer, as forty do: at 140,000 packets of 1300 bytes a second, the
// daemons of both ends took 29 % less processor time with pauses, and on the two processors packets of 1300 and 64 bytes crossed at a
// rate 10 to 15 % and 23 % higher. A pause of 95 µs saves nearly as much, but does not raise the rate: the scheduler moves nobody to
// a processor that is idle for so short a time. One of 275 µs adds nothing.
//
// The price is time: a packet waits 90 µs on average. So there are no pauses below that density, none when the last one
// gathered little, and none while so much is waiting that it will take several reads. A super-packet counts as one packet, so
// that TCP never pauses. Senders that wait for answers, some 32 packets at a time, lose 4 % where they come near the density.
//
// On the way in there are none: they saved 4 %, since frames come in trains.
type moderation struct {
	pause  func(time.Duration) bool // false: refused
	dense  bool
	paused bool // before the read in hand
	behind bool // more may be waiting
	count  int  // packets since
	since  time.Time
}

// before is called before each read that does not wait.
func (m *moderation) before() {
	m.paused = m.dense && !m.behind && m.pause(moment)
}

// took is called after it, with the number of packets.
func (m *moderation) took(n int) {
	m.behind = n >= drain/2
	if m.count += n; m.count >= some {
		now := time.Now()
		m.dense = now.Sub(m.since) <= dense*time.Duration(m.count)
		m.count, m.since = 0, now
	}
	if m.paused && n < worthIt {
		m.dense = false
	}
}
