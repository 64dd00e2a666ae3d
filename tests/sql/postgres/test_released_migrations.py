"""Released migrations never change: a database that has applied one refuses a program in which its text differs."""

from zapline.sql.postgres.migrate import migrations

RELEASED = {
    1: "e66eda692c5065a1ac5809a9fe2ebb06dcd837ffae229dfa6c1404d917e83f63",
    2: "d9dcf32e9c684280b64a2d5cdcd9cac157d3f67086bd5678bace54f7d977d7ff",
    3: "abcadce1c365a299d03fe4fb0f6164edef58e56dc1e0a2a5ff27a0f3d7fbe8f3",
    4: "668622400ee9018207881c3d11819edd2e4566c0069c827ce14ec4a701355250",
    5: "6995451f2b07034445fae4f3e7ff97f3a904d46462038559e1db73c93bd2d078",
    6: "7b045ef3a38322736df5bef7a43789bd03733953b75e3188c20b359933599bbe",
    7: "96ab85aa044409ae30964a24b48b1a57d2d2b7d6c5a36d59b7f42c3f423084be",
    8: "288d15880d8ee8bfe24cdaee72c53a5ba6ca90eca8cdaa847e75241eeef6db8f",
    9: "0688247cb2adb5f64de7285490a8d8ddbe294534c44517368f1049aacb147a7c",
    10: "cb7964267786762f8a1d6138fa6ba61e4c7d2d48d3e62b1d127b73dbd926011f",
}
"""Number -> SHA-256 of the text, from 0.3.0 on; a release adds its own."""


def test_released_migrations_have_the_text_that_they_were_released_with() -> None:
    checksums = {migration.number: migration.checksum for migration in migrations()}
    assert {number: checksums[number] for number in RELEASED} == RELEASED
