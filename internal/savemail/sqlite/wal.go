package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Sizes in a write-ahead log, in bytes
// (https://sqlite.org/fileformat2.html#the_write_ahead_log).
const (
	walHeaderSize   = 32 // magic, version, page size, sequence, salts, checksum
	frameHeaderSize = 24 // page, database size in a commit frame, salts, checksum
	walMagic        = 0x377f0682
	maxPageSize     = 65536
)

// reservedWAL is the size of the WAL after the open, in bytes. With the
// daemon's checkpoints the frames mostly fit into it. A commit that overwrites
// blocks needs neither free space nor the journal of the file system. If a file
// grows while ext4's journal fails, fdatasync(2) may report success for lost
// data (Linux 6.18, fs/jbd2/journal.c, jbd2_complete_transaction).
const reservedWAL = 16 << 20

// errWALChanged means that the WAL lacks frames that SQLite has counted. The kernel
// may have dropped pages that it failed to write.
var errWALChanged = errors.New("the WAL lacks frames that SQLite has counted")

// walPages are pages in a WAL.
type walPages struct {
	offsets map[uint32]int64 // of the page contents, by page number
	size    int              // of a page, in bytes
}

// rewriteWAL writes the first frames of the WAL at path again, byte for byte,
// clears the rest of the WAL, and syncs it. It returns the newest contents of
// the pages that are in the first copied frames and in no later frame. The
// caller holds SQLite's write lock, so no other program writes to the WAL.
// SQLite places no lock on the WAL itself, so closing it releases none.
func rewriteWAL(ctx context.Context, path string, frames, copied int) (pages walPages, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) && frames == 0 {
		return walPages{}, nil
	} else if err != nil {
		return walPages{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size := int64(0)
	if frames > 0 {
		if pages, size, err = rewriteFrames(ctx, f, frames, copied); err != nil {
			return walPages{}, fmt.Errorf("rewrite the WAL: %w", err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Sync()); err != nil {
		return walPages{}, fmt.Errorf("truncate the WAL: %w", err)
	}
	return pages, reserveWAL(f, size)
}

// reserveWAL fills the WAL with zeros from size to reservedWAL and syncs it. For
// SQLite, the WAL ends at the zeros. If the disk is full, the WAL keeps its size.
func reserveWAL(f *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	var err error
	for at := size; at < reservedWAL && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), reservedWAL-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		err = f.Truncate(size)
	}
	if err != nil {
		return fmt.Errorf("reserve the WAL: %w", err)
	}
	return nil
}

// rewriteFrames writes the header and the frames again and returns the end of
// the last frame. It verifies the bytes before it writes them: each checksum
// covers all bytes of the WAL before it. The last frame must end a transaction.
func rewriteFrames(ctx context.Context, f *os.File, frames, copied int) (pages walPages, end int64, err error) {
	header := make([]byte, walHeaderSize)
	if err := readFull(f, header, 0); err != nil {
		return walPages{}, 0, err
	}
	sum, pageSize, err := readWALHeader(header)
	if err != nil {
		return walPages{}, 0, err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		return walPages{}, 0, err
	}
	end = walHeaderSize
	frame := make([]byte, frameHeaderSize+pageSize)
	committed := false // the last frame ends a transaction
	pages = walPages{offsets: map[uint32]int64{}, size: pageSize}
	for n := range frames {
		if err := ctx.Err(); err != nil {
			return walPages{}, 0, err
		}
		if err := readFull(f, frame, end); err != nil {
			return walPages{}, 0, err
		}
		sum.add(frame[:8])
		sum.add(frame[frameHeaderSize:])
		if string(frame[8:16]) != string(header[16:24]) || !sum.matches(frame[16:24]) {
			return walPages{}, 0, fmt.Errorf("%w: frame %d of %d is invalid", errWALChanged, n+1, frames)
		}
		if _, err := f.WriteAt(frame, end); err != nil {
			return walPages{}, 0, err
		}
		if page := binary.BigEndian.Uint32(frame); n < copied {
			pages.offsets[page] = end + frameHeaderSize
		} else {
			delete(pages.offsets, page)
		}
		committed = binary.BigEndian.Uint32(frame[4:]) != 0
		end += int64(len(frame))
	}
	if !committed {
		return walPages{}, 0, fmt.Errorf("%w: frame %d does not end a transaction", errWALChanged, frames)
	}
	return pages, end, nil
}

// readFull fills b. It returns errWALChanged if the WAL is too short.
func readFull(f *os.File, b []byte, at int64) error {
	_, err := f.ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		return errWALChanged
	}
	return err
}

// readWALHeader verifies a header. It returns the page size, and the checksum
// that the first frame's checksum continues.
func readWALHeader(header []byte) (sum checksum, pageSize int, err error) {
	magic := binary.BigEndian.Uint32(header)
	sum.order = binary.LittleEndian
	if magic&1 != 0 {
		sum.order = binary.BigEndian
	}
	pageSize = int(binary.BigEndian.Uint32(header[8:]))
	sum.add(header[:24])
	if magic&^1 != walMagic || !sum.matches(header[24:]) || pageSize < 512 || pageSize > maxPageSize {
		return sum, 0, errWALChanged
	}
	return sum, pageSize, nil
}

// A checksum is the checksum of a WAL: two sums over 32-bit words.
type checksum struct {
	order  binary.ByteOrder
	s0, s1 uint32
}

// add adds b, whose length is a multiple of 8.
func (c *checksum) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		c.s0 += c.order.Uint32(b) + c.s1
		c.s1 += c.order.Uint32(b[4:]) + c.s0
	}
}

// matches reports whether the 8 bytes of b are this checksum.
func (c *checksum) matches(b []byte) bool {
	return binary.BigEndian.Uint32(b) == c.s0 && binary.BigEndian.Uint32(b[4:]) == c.s1
}
