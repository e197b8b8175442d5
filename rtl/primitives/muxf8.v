// Behavioural model of the UltraScale+ multiplexer MUXF8, which joins two MUXF7. For simulation only.
module MUXF8(
  output O,
  input I0,
  input I1,
  input S
);
  assign O = S ? I1 : I0;
endmodule
