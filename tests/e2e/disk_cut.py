"""Cuts a file system off as a power failure would: FS_IOC_SHUTDOWN without flushing its log (EXT4_GOING_FLAGS_NOLOGFLUSH)."""
import fcntl
import os
import struct
import sys

FS_IOC_SHUTDOWN = 0x8004587D
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", 2))
