package esp

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

const testSPI = 0x1000

// testKey returns keying material for a suite: 1, 2, 3 ..., so that no two parts of it are equal.
func testKey(s Suite) []byte {
	key := make([]byte, s.KeyLen())
	for i := range key {
		key[i] = byte(i + 1)
	}
	return key
}

func testOutbound(tb testing.TB, s Suite, esn bool) *Outbound {
	tb.Helper()
	sa, err := NewOutbound(Config{SPI: testSPI, Suite: s, Key: testKey(s), ESN: esn})
	if err != nil {
		tb.Fatal(err)
	}
	return sa
}

func testInbound(tb testing.TB, s Suite, esn bool, window int) *Inbound {
	tb.Helper()
	sa, err := NewInbound(Config{SPI: testSPI, Suite: s, Key: testKey(s), ESN: esn, ReplayWindow: window})
	if err != nil {
		tb.Fatal(err)
	}
	return sa
}

// seeded returns a source of random numbers and says in the log how to get the same again.
func seeded(tb testing.TB, seed uint64) *rand.Rand {
	tb.Helper()
	tb.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// unhex reads hexadecimal digits; white space between them does not count.
func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// openOne opens one datagram as a batch of its own.
func openOne(in *Inbound, s *Scratch, datagram []byte) (inner []byte, v Verdict, newest bool) {
	var b Batch
	b.Add(datagram)
	newest = in.OpenBatch(s, &b)
	off, n, v := b.Result(0)
	if v != OK {
		return nil, v, newest
	}
	return datagram[off : off+n], v, newest
}
