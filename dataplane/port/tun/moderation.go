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
// wake-ups and passes through the kernel, here and at the peer, as forty do. At 140,000 packets of 1300 bytes a second the daemons of
// both ends took 17 % less processor time with pauses (29 % where they began at 80,000 already, which is too early for senders that
// wait for answers: some 32 at a time lost a tenth), and on the two processors packets of 1300 and 64 bytes crossed at a rate 10 to
// 15 % and 20 % higher. A pause of 95 µs saves much of that too, but did not raise the rate, perhaps because the scheduler moves
// nobody to a processor that is idle for so short a time; one of 275 µs adds nothing.
//
// The price is time: a packet waits 90 µs on average. So there are no pauses below that density, none when the last one gathered
// little, and none while so much was read at once that more may be waiting. A super-packet counts as one packet, so that TCP's
// never pause. Senders that wait for the answers to 1 to 256 packets lose nothing that could be measured.
//
// On the way in there are none: beside these, they did not raise the rate.
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
