package wire

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b to a running ones' complement sum (RFC 1071) that Fold turns into a checksum. Pieces may be added one after
// the other where every piece but the last has an even length. The running sum is in the byte order of memory read as
// little-endian words, which RFC 1071 section 2(B) allows: add numbers to it by SumValue.
func Sum(b []byte, sum uint64) uint64 {
	var carry uint64
	for len(b) >= 64 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[56:]), carry)
		sum += carry
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum += carry
		b = b[8:]
	}
	var rest uint64
	for i, c := range b {
		rest |= uint64(c) << (8 * i)
	}
	sum, carry = bits.Add64(sum, rest, 0)
	return sum + carry
}

// SumValue adds a 16-bit number in host order to a running sum.
func SumValue(v uint16, sum uint64) uint64 {
	sum, carry := bits.Add64(sum, uint64(bits.ReverseBytes16(v)), 0)
	return sum + carry
}

// Fold returns the ones' complement sum in 16 bits, in host order, not complemented.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return bits.ReverseBytes16(uint16(sum))
}

// Checksum returns the Internet checksum of b on top of a running sum: what stands in a checksum field.
func Checksum(b []byte, sum uint64) uint16 { return ^Fold(Sum(b, sum)) }

// PseudoSum returns the running sum of the pseudo header of an upper-layer packet of n bytes (RFC 9293 section 3.1,
// RFC 8200 section 8.1) that stands behind the IP header at the front of b.
func PseudoSum(b []byte, proto uint8, n int) uint64 {
	var sum uint64
	if b[0]>>4 == 4 {
		sum = Sum(b[12:20], 0)
	} else {
		sum = Sum(b[8:40], 0)
	}
	sum = SumValue(uint16(n>>16), sum)
	return SumValue(uint16(proto), SumValue(uint16(n), sum))
}

// SetIPv4Checksum computes the header checksum of the IPv4 packet b anew.
func SetIPv4Checksum(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], Checksum(b[:int(b[0]&0xf)<<2], 0))
}

// CompleteChecksum turns the partial transport checksum that o describes into a whole one: the field holds the sum over
// the pseudo header, and the rest is added (virtio 1.2 section 5.1.6.2.1). b is the IP packet.
func CompleteChecksum(b []byte, o *Offload) {
	if !o.NeedsCsum {
		return
	}
	start, at := int(o.CsumStart), int(o.CsumStart)+int(o.CsumOffset)
	c := Checksum(b[start:], 0)
	if c == 0 {
		c = 0xffff // all ones stands for zero (RFC 768); TCP takes either
	}
	binary.BigEndian.PutUint16(b[at:], c)
	o.NeedsCsum = false
}

// updateChecksum changes the checksum field at b for a 16-bit word that changed from old to new (RFC 1624 equation 3).
func updateChecksum(field []byte, old, new uint16) {
	sum := uint32(^binary.BigEndian.Uint16(field)) + uint32(^old) + uint32(new)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(field, ^uint16(sum))
}
