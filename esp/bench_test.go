package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// Compare BenchmarkSeal and BenchmarkSealTo with BenchmarkBareSeal of the same case and size, and BenchmarkOpen with
// BenchmarkBareOpen: the difference is what this package adds to the cipher.

var benchSizes = []int{64, 300, 1400}

const benchBatch = 64

// bareAEAD returns the suite's AEAD without this package around it.
func bareAEAD(tb testing.TB, s Suite) cipher.AEAD {
	key := testKey(s)[:suites[s].cipher]
	var aead cipher.AEAD
	var err error
	if s == ChaCha20Poly1305 {
		aead, err = chacha20poly1305.New(key)
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	return aead
}

func forAEADs(b *testing.B, bench func(b *testing.B, s Suite, n int)) {
	for _, s := range []Suite{AES128GCM16, AES256GCM16, ChaCha20Poly1305} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%v/%d", s, n), func(b *testing.B) { bench(b, s, n) })
		}
	}
}

func forSuites(b *testing.B, bench func(b *testing.B, s Suite, n int)) {
	for _, s := range []Suite{AES128GCM16, AES256GCM16, ChaCha20Poly1305, AES128SHA1, AES256SHA256, AES256SHA512} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%v/%d", s, n), func(b *testing.B) { bench(b, s, n) })
		}
	}
}

func BenchmarkBareSeal(b *testing.B) {
	forAEADs(b, func(b *testing.B, s Suite, n int) {
		aead := bareAEAD(b, s)
		buf, nonce, aad := make([]byte, 2048), make([]byte, 12), make([]byte, 8)
		plain := n + suites[s].pad(n) + 2
		b.SetBytes(int64(n))
		for i := range b.N {
			binary.BigEndian.PutUint64(nonce[4:], uint64(i))
			aead.Seal(buf[16:16], nonce, buf[16:16+plain], aad)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	forSuites(b, func(b *testing.B, s Suite, n int) {
		sa, scratch, buf := testOutbound(b, s, false), NewScratch(), make([]byte, 2048)
		b.SetBytes(int64(n))
		b.ReportAllocs()
		b.ResetTimer()
		for left := b.N; left > 0; left -= benchBatch {
			run := sa.Reserve(min(left, benchBatch))
			for run.Left() > 0 {
				run.Seal(scratch, buf, n, 4)
			}
			run.End()
		}
	})
}

func BenchmarkSealTo(b *testing.B) {
	forSuites(b, func(b *testing.B, s Suite, n int) {
		sa, scratch, buf := testOutbound(b, s, false), NewScratch(), make([]byte, 2048)
		dst := make([]byte, sa.SealedLen(n))
		b.SetBytes(int64(n))
		b.ReportAllocs()
		b.ResetTimer()
		for left := b.N; left > 0; left -= benchBatch {
			run := sa.Reserve(min(left, benchBatch))
			for run.Left() > 0 {
				run.SealTo(scratch, dst, buf, n, 4)
			}
			run.End()
		}
	})
}

// sealedRun returns n sealed packets with the sequence numbers first, first+1 ..., of size bytes inside.
func sealedRun(tb testing.TB, sa *Outbound, n, size int) [][]byte {
	tb.Helper()
	scratch, out := NewScratch(), make([][]byte, n)
	run := sa.Reserve(n)
	defer run.End()
	for i := range out {
		b := make([]byte, sa.SealedLen(size))
		b[sa.HeaderLen()] = 0x45
		run.Seal(scratch, b, size, 4)
		out[i] = b
	}
	return out
}

// BenchmarkBareOpen takes its packets by the batch, as BenchmarkOpen does, since a batch does not fit the first cache.
func BenchmarkBareOpen(b *testing.B) {
	forAEADs(b, func(b *testing.B, s Suite, n int) {
		aead, sealed := bareAEAD(b, s), sealedRun(b, testOutbound(b, s, false), benchBatch, n)
		bufs, nonce := benchBuffers(len(sealed[0])), make([]byte, 12)
		copy(nonce, testKey(s)[suites[s].cipher:])
		b.SetBytes(int64(n))
		b.ResetTimer()
		for left := b.N; left > 0; left -= benchBatch {
			batch := bufs[:min(left, benchBatch)]
			for i, buf := range batch {
				copy(buf, sealed[i])
			}
			for _, buf := range batch {
				copy(nonce[4:], buf[8:16])
				if _, err := aead.Open(buf[16:16], nonce, buf[16:], buf[:8]); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func benchBuffers(n int) [][]byte {
	bufs := make([][]byte, benchBatch)
	for i := range bufs {
		bufs[i] = make([]byte, n)
	}
	return bufs
}

// BenchmarkOpen opens the same packets again and again: the window is set back under them, as nobody else could.
func BenchmarkOpen(b *testing.B) {
	forSuites(b, func(b *testing.B, s Suite, n int) {
		sealed := sealedRun(b, testOutbound(b, s, false), benchBatch, n)
		in, scratch, batch := testInbound(b, s, false, DefaultReplayWindow), NewScratch(), new(Batch)
		bufs := benchBuffers(len(sealed[0]))
		b.SetBytes(int64(n))
		b.ReportAllocs()
		b.ResetTimer()
		for left := b.N; left > 0; left -= benchBatch {
			in.win.top = 0
			in.win.ring[0], in.win.ring[1] = 0, 0
			batch.Reset()
			for i := range min(left, benchBatch) {
				copy(bufs[i], sealed[i])
				batch.Add(bufs[i])
			}
			in.OpenBatch(scratch, batch)
			if _, _, v := batch.Result(0); v != OK {
				b.Fatal(v)
			}
		}
	})
}
