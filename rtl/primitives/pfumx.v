// Behavioural model of the ECP5 multiplexer PFUMX, which joins two LUTs. For simulation only.
module PFUMX(
  input ALUT,
  input BLUT,
  input C0,
  output Z
);
  assign Z = C0 ? ALUT : BLUT;
endmodule
