//! Tile registers for tests on a machine that has none: there every instruction of AMX raises a signal,
//! and its handler does what the instruction would have done, but for subnormal numbers, which it keeps.
//!
//! What the handler reads and writes of the memory AddressSanitizer sees, as it does not with the instructions
//! themselves. Encodings and meaning: Intel's Software Developer's Manual, volume 2.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};

const TILES: usize = 8;
const MAX_ROWS: usize = 16;
const MAX_BYTES_PER_ROW: usize = 64;

type Tile = [[u8; MAX_BYTES_PER_ROW]; MAX_ROWS];

const ZERO: Tile = [[0; MAX_BYTES_PER_ROW]; MAX_ROWS];

/// What `tilerelease` leaves, and a thread begins with: no tile has a row.
const RELEASED: Registers =
    Registers { bytes_per_row: [0; TILES], rows: [0; TILES], tiles: [ZERO; TILES] };

thread_local! {
    static REGISTERS: RefCell<Registers> = const { RefCell::new(RELEASED) };
}

/// Handles the signal from now on, and returns whether it can.
pub(crate) fn install() -> bool {
    // SAFETY: all zeros are an action without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_flags = libc::SA_SIGINFO;
    action.sa_sigaction = on_illegal_instruction as *const () as usize;
    // SAFETY: the handler is one for `SA_SIGINFO`. The instruction itself raises the signal, so the handler
    // never interrupts code that borrows what it uses, unless somebody sends one from outside.
    unsafe { libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) == 0 }
}

extern "C" fn on_illegal_instruction(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: this is what the kernel passes, and nobody else has it.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // SAFETY: this is where the processor stopped.
    let Some(instruction) = (unsafe { Instruction::decode(registers) }) else {
        // Not ours: the same instruction again ends the process.
        // SAFETY: this sets what is the default.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
        return;
    };
    // SAFETY: the program has promised as much for the instruction.
    REGISTERS.with_borrow_mut(|tiles| unsafe { tiles.run(&instruction) });
    registers[libc::REG_RIP as usize] += instruction.len as i64;
}

/// An instruction of AMX: those that the kernels have.
struct Instruction {
    operation: Operation,
    /// The tile that is written, or stored.
    tile: usize,
    operand: Operand,
    /// The tile of the third operand.
    third: usize,
    /// Bytes.
    len: usize,
}

#[derive(Clone, Copy)]
enum Operation {
    Configure,
    Release,
    Zero,
    Load,
    Store,
    MultiplyBf16,
    MultiplyInt8,
}

#[derive(Clone, Copy)]
enum Operand {
    Tile(usize),
    /// Where the first row begins, and from one row to the next.
    Memory {
        start: usize,
        stride: usize,
    },
}

impl Instruction {
    /// Decodes what lies at the program counter; none if it is something else.
    ///
    /// # Safety
    ///
    /// The processor has read the instruction there.
    unsafe fn decode(registers: &[i64]) -> Option<Self> {
        // Registers by the numbers that instructions have for them.
        const NUMBERED: [c_int; 16] = [
            libc::REG_RAX,
            libc::REG_RCX,
            libc::REG_RDX,
            libc::REG_RBX,
            libc::REG_RSP,
            libc::REG_RBP,
            libc::REG_RSI,
            libc::REG_RDI,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
        ];
        let register = |number: u8| registers[NUMBERED[usize::from(number)] as usize] as usize;
        let start = registers[libc::REG_RIP as usize] as usize as *const u8;
        // SAFETY: a byte is read only when those before tell that it is part of the instruction.
        let byte = |at: usize| unsafe { *start.add(at) };

        // 0xC4, RXBmmmmm, Wvvvv0pp, opcode, mod reg rm; R, X, B and v are inverted.
        if byte(0) != 0xc4 || byte(1) & 0x1f != 2 || byte(2) & 0x84 != 0 {
            return None;
        }
        let (x, b) = (byte(1) >> 6 & 1 ^ 1, byte(1) >> 5 & 1 ^ 1);
        let (prefix, third) = (byte(2) & 3, byte(2) >> 3 & 0x0f ^ 0x0f);
        let (opcode, modrm) = (byte(3), byte(4));
        let (mode, reg, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
        let (operand, len) = if mode == 3 {
            (Operand::Tile(usize::from(rm)), 5)
        } else {
            // Not relative to the program counter or without a base, which no compiler makes of `[{}]`.
            let has_index = rm == 4;
            let (scale, index, base) = if has_index {
                (byte(5) >> 6, byte(5) >> 3 & 7 | x << 3, byte(5) & 7 | b << 3)
            } else {
                (0, 4, rm | b << 3)
            };
            if mode == 0 && base & 7 == 5 {
                return None;
            }
            let at = 5 + usize::from(has_index);
            let (displacement, len) = match mode {
                0 => (0, at),
                1 => (byte(at) as i8 as isize, at + 1),
                _ => {
                    let bytes = [byte(at), byte(at + 1), byte(at + 2), byte(at + 3)];
                    (i32::from_le_bytes(bytes) as isize, at + 4)
                }
            };
            let start = register(base).wrapping_add_signed(displacement);
            let stride = if index == 4 { 0 } else { register(index) << scale };
            (Operand::Memory { start, stride }, len)
        };
        let (none, f3, f2) = (0, 2, 3);
        let operation = match (opcode, prefix, operand) {
            (0x49, p, Operand::Memory { .. }) if p == none => Operation::Configure,
            (0x49, p, Operand::Tile(0)) if p == none => Operation::Release,
            (0x49, p, Operand::Tile(0)) if p == f2 => Operation::Zero,
            (0x4b, p, Operand::Memory { .. }) if p == f2 => Operation::Load,
            (0x4b, p, Operand::Memory { .. }) if p == f3 => Operation::Store,
            (0x5c, p, Operand::Tile(_)) if p == f3 => Operation::MultiplyBf16,
            (0x5e, p, Operand::Tile(_)) if p == f2 => Operation::MultiplyInt8,
            _ => return None,
        };
        Some(Self { operation, tile: usize::from(reg), operand, third: usize::from(third), len })
    }
}

struct Registers {
    bytes_per_row: [usize; TILES],
    rows: [usize; TILES],
    tiles: [Tile; TILES],
}

impl Registers {
    /// # Safety
    ///
    /// What the instruction reads and writes of the memory is there.
    unsafe fn run(&mut self, instruction: &Instruction) {
        let tile = instruction.tile;
        let bytes = self.bytes_per_row[tile];
        let rows = 0..self.rows[tile];
        if !matches!(instruction.operation, Operation::Configure | Operation::Release) {
            assert!(bytes > 0 && !rows.is_empty(), "tile {tile} is configured");
        }
        match (instruction.operation, instruction.operand) {
            (Operation::Configure, Operand::Memory { start, .. }) => {
                let mut config = [0; 64];
                // SAFETY: the caller's promise.
                unsafe { copy(start as *const u8, config.as_mut_ptr(), config.len()) };
                self.configure(&config);
            }
            (Operation::Release, _) => *self = RELEASED,
            (Operation::Zero, _) => self.tiles[tile] = ZERO,
            (Operation::Load, Operand::Memory { start, stride }) => {
                self.tiles[tile] = ZERO;
                for (row, to) in rows.zip(&mut self.tiles[tile]) {
                    // SAFETY: the caller's promise.
                    unsafe { copy((start + row * stride) as *const u8, to.as_mut_ptr(), bytes) };
                }
            }
            (Operation::Store, Operand::Memory { start, stride }) => {
                for (row, from) in rows.zip(&self.tiles[tile]) {
                    // SAFETY: the caller's promise.
                    unsafe { copy(from.as_ptr(), (start + row * stride) as *mut u8, bytes) };
                }
            }
            (Operation::MultiplyBf16, Operand::Tile(second)) => {
                self.multiply_bf16(tile, second, instruction.third);
            }
            (Operation::MultiplyInt8, Operand::Tile(second)) => {
                self.multiply_int8(tile, second, instruction.third);
            }
            _ => unreachable!("decoded with the operand that it takes"),
        }
    }

    fn configure(&mut self, config: &[u8; 64]) {
        let (bytes_per_row, _) = config[16..].as_chunks::<2>();
        *self = RELEASED;
        assert!(config[..2] == [1, 0], "palette 1, from the first row");
        let reserved = [&config[2..16], &config[32..48], &config[56..]];
        assert!(reserved.iter().all(|bytes| bytes.iter().all(|byte| *byte == 0)), "nothing else");
        for tile in 0..TILES {
            self.bytes_per_row[tile] = u16::from_le_bytes(bytes_per_row[tile]).into();
            self.rows[tile] = config[48 + tile].into();
            assert!(self.bytes_per_row[tile] <= MAX_BYTES_PER_ROW && self.rows[tile] <= MAX_ROWS);
        }
    }

    /// Returns the number of rows of the sums, of their columns, and of what is added up for each: words of
    /// four bytes.
    fn shape(&self, sums: usize, first: usize, second: usize) -> [usize; 3] {
        assert!(sums != first && sums != second && first != second, "three tiles");
        let shape = |tile: usize| (self.rows[tile], self.bytes_per_row[tile] / 4);
        let ((rows, columns), (_, depth)) = (shape(sums), shape(first));
        assert_eq!((shape(first).0, shape(second)), (rows, (depth, columns)), "shapes that fit");
        [rows, columns, depth]
    }

    /// `sums[m][n] += first[m][k] * second[k][n]`, where `k` counts pairs of neighbours, the even and the
    /// odd ones added up apart.
    fn multiply_bf16(&mut self, sums: usize, first: usize, second: usize) {
        let [rows, columns, pairs] = self.shape(sums, first, second);
        let widen = |row: &[u8; MAX_BYTES_PER_ROW]| -> [f32; 32] {
            let (bytes, _) = row.as_chunks::<2>();
            std::array::from_fn(|i| f32::from_bits(u32::from(u16::from_le_bytes(bytes[i])) << 16))
        };
        let second: [[f32; 32]; MAX_ROWS] = self.tiles[second].each_ref().map(widen);
        for row in 0..rows {
            let weights = widen(&self.tiles[first][row]);
            let mut added = [0f32; 32];
            for (pair, second) in second.iter().enumerate().take(pairs) {
                for (i, added) in added.iter_mut().enumerate() {
                    *added = weights[2 * pair + i % 2].mul_add(second[i], *added);
                }
            }
            let (sums, _) = self.tiles[sums][row].as_chunks_mut::<4>();
            for (sum, added) in sums.iter_mut().zip(added.as_chunks::<2>().0).take(columns) {
                *sum = (f32::from_le_bytes(*sum) + (added[0] + added[1])).to_le_bytes();
            }
        }
    }

    /// The same where `k` counts quads of neighbours, in integers.
    fn multiply_int8(&mut self, sums: usize, first: usize, second: usize) {
        let [rows, columns, quads] = self.shape(sums, first, second);
        for row in 0..rows {
            for column in 0..columns {
                let products = (0..4 * quads).map(|at| {
                    let weight = self.tiles[first][row][at] as i8;
                    let activation = self.tiles[second][at / 4][4 * column + at % 4] as i8;
                    i32::from(weight) * i32::from(activation)
                });
                let added: i32 = products.sum();
                let (sums, _) = self.tiles[sums][row].as_chunks_mut::<4>();
                sums[column] = (i32::from_le_bytes(sums[column]) + added).to_le_bytes();
            }
        }
    }
}

/// # Safety
///
/// There are `len` bytes at both, which do not overlap.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}
