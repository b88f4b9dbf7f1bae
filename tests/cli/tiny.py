"""Kernels of a few bytes, made here: Multiboot 1 ELF images that run 32-bit code from 1 MiB on."""
import struct

MULTIBOOT = struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF)
BASE = 0x100000
CODE = BASE + len(MULTIBOOT)

SPIN = b"\xeb\xfe"  # jmp .
HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt


def elf32(code, machine=3, entry=CODE, memory=None):
    """An ELF file with one segment: the Multiboot header, then `code`."""
    body = MULTIBOOT + code
    offset = 0x1000
    header = struct.pack("<4s5B7xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 0, 0, 2, machine, 1, entry, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, offset, BASE, BASE, len(body), memory or len(body), 7, 0x1000)
    return (header + segment).ljust(offset, b"\0") + body


def out_byte(port, value):
    return b"\xba" + struct.pack("<I", port) + b"\xb0" + bytes([value]) + b"\xee"  # mov edx, port; mov al, value; out


def serial_text(text):
    """Sets 8-bit words, then waits for the transmitter before each byte."""
    code = out_byte(0x3FB, 3)
    for byte in text.encode():
        code += b"\xba\xfd\x03\x00\x00\xec\xa8\x20\x74\xfb"  # mov edx, 0x3fd; 1: in al, dx; test al, 0x20; jz 1b
        code += out_byte(0x3F8, byte)
    return code


def screen_text(text):
    """Puts characters (code page 437) into the first row of the text screen."""
    code = b"\xbf\x00\x80\x0b\x00"  # mov edi, 0xb8000
    for char in text:
        code += b"\xb0" + char.encode("latin-1") + b"\x88\x07\x47\x47"  # mov al, char; mov [edi], al; inc edi twice
    return code


def debug_exit(value, port=0xF4):
    return elf32(out_byte(port, value) + HALT)


def triple_fault():
    idtr = struct.pack("<HI", 0, 0)
    # lidt [idtr]; int3
    code = b"\x0f\x01\x1d" + struct.pack("<I", CODE + 8) + b"\xcc"
    return elf32(code + idtr)


def hello(text, then):
    return elf32(serial_text(text) + then)


def echo(fifo):
    """Sends back what is typed; 'X' leaves through the debug-exit port. `fifo`: the serial port's FIFOs are on."""
    ready = b"\xba\xfd\x03\x00\x00"  # mov edx, 0x3fd
    loop = ready + b"\xec\xa8\x01\x74\xfb"  # 1: in al, dx; test al, 1; jz 1b
    loop += b"\xb2\xf8\xec\xee"  # mov dl, 0xf8; in al, dx; out dx, al
    loop += b"\x3c\x58"  # cmp al, 'X'
    back = -(len(loop) + 2)
    loop += b"\x75" + struct.pack("b", back)  # jne to the start
    return elf32(out_byte(0x3FA, int(fifo)) + serial_text("ready\n") + loop + out_byte(0xF4, 0) + HALT)


def keys():
    """Sends each byte of the keyboard controller, scan codes above all, to the serial port."""
    loop = b"\xe4\x64\xa8\x01\x74\xfa"  # 1: in al, 0x64; test al, 1; jz 1b
    loop += b"\xe4\x60\x88\xc3"  # in al, 0x60; mov bl, al
    loop += b"\xba\xfd\x03\x00\x00\xec\xa8\x20\x74\xfb"  # mov edx, 0x3fd; 2: in al, dx; test al, 0x20; jz 2b
    loop += b"\xb2\xf8\x88\xd8\xee"  # mov dl, 0xf8; mov al, bl; out dx, al
    return elf32(serial_text("ready\n") + loop + b"\xeb" + struct.pack("b", -(len(loop) + 2)))


def count(total, first, kinds):
    """Prints `total` bytes first, first + 1, ... wrapping after `kinds`, then leaves."""
    code = out_byte(0x3FB, 3) + b"\xb9" + struct.pack("<I", total) + b"\xb3" + bytes([first])  # mov ecx, total; mov bl, first
    loop = b"\xba\xfd\x03\x00\x00\xec\xa8\x20\x74\xfb"  # wait for the transmitter
    loop += b"\xb2\xf8\x88\xd8\xee"  # mov dl, 0xf8; mov al, bl; out dx, al
    loop += b"\xfe\xc3\x80\xfb" + bytes([first + kinds]) + b"\x75\x02\xb3" + bytes([first])  # inc bl; cmp; jne +2; mov bl, first
    loop += b"\x49"  # dec ecx
    loop += b"\x75" + struct.pack("b", -(len(loop) + 2))
    return elf32(code + loop + out_byte(0xF4, 0) + HALT)
