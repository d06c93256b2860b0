package elf

// The hash table of symbols (System V ABI, chapter 5): how many buckets and symbols there are, the first symbol of each bucket, and for each symbol
// the next one of its bucket; 0 is the end. The pVM looks symbols up in it, the engine does not: so both have to find the same.

const hashHead = 8 // bytes

// checkHash holds that each symbol that can be meant is in the bucket of its name, and that each bucket has an end.
func (f *file) checkHash(d *Dynamic) error {
	head, err := f.table(d.segs, "hash table", d.tables.hash, hashHead)
	if err != nil {
		return err
	}
	buckets, symbols := uint64(le.Uint32(head)), uint64(len(d.symbols))
	table, err := f.table(d.segs, "hash table", d.tables.hash, hashHead+4*(buckets+symbols))
	if err != nil {
		return err
	}
	word := func(i uint64) uint64 { return uint64(le.Uint32(table[hashHead+4*i:])) }
	found := make([]bool, symbols)
	for b := range buckets {
		for i := word(b); i != 0; i = word(buckets + i) {
			if i >= symbols || found[i] {
				return refuse("damaged hash table: symbol %d of %d, or twice", i, symbols)
			}
			found[i] = uint64(hashOf(d.symbols[i].name))%buckets == b
			if !found[i] {
				return refuse("damaged hash table: %s is in bucket %d", printable(d.symbols[i].name), b)
			}
		}
	}
	for i := range d.symbols {
		s := &d.symbols[i]
		if meant := s.section != 0 || in(d.segs, s.value, 1, Exec); meant && s.bind != bindLocal && s.name != "" && !found[i] {
			return refuse("damaged hash table: %s is not in it", printable(s.name))
		}
	}
	return nil
}

func hashOf(name string) (h uint32) {
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		h ^= h >> 28 << 4
		h &= 1<<28 - 1
	}
	return h
}
