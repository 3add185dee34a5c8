BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('651f5419b74d');
CREATE TABLE api_tokens (
	user_id INTEGER, 
	service_id INTEGER, 
	id INTEGER NOT NULL, 
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	client_id VARCHAR(255), 
	session_id VARCHAR(255), 
	created DATETIME, 
	expires_at DATETIME, 
	last_activity DATETIME, 
	note VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed), 
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:bc90dd53580dafe5:99a82437ccd458cb36f849e1717c3a7fd9edc9fb87ea09fef8c0db410d5db67b19c1cea36186c824d94e57ee0254980d04e660e2217ba96a3e6b3ea1e6083ea2','toke','jupyterhub',NULL,'2026-12-01 03:53:33.003840',NULL,'2026-12-01 03:53:53.929047','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:2daf3171ea403909:6a693f5ac08d40057ecbaca7d3b4820fb3cf95d5fc27178d4fe32e5ad183ffe53bbbfe5824090c14df01a7d422d946f945d47d56f2e579cbf4f06cda29544136','toke','jupyterhub',NULL,'2026-12-01 03:53:33.050496',NULL,'2026-12-01 03:53:54.135884','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,3,3,'sha512:16384:e9fc6c34cd5423de:d7f0fafa5b143e2edac4a86f8873c5be396302f185e69161f3fd1bf72bed308f2d3a714e25e320e9d5d88023c31fd8b7b4625622426902e3181cd72f89573f6e','toke','jupyterhub',NULL,'2026-12-01 03:53:33.092300',NULL,'2026-12-01 03:53:54.015355','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(4,NULL,4,'sha512:16384:e4a7d248807c5079:648fd808e2ad3404970651505562568d5d9fda734711bc6dcca7be2c8de3192334418179ca953a5a8a5932b6b40a5a51342376f6d536796d8fb4dfb4c09da927','toke','jupyterhub',NULL,'2026-12-01 03:53:33.170875',NULL,'2026-12-01 03:53:53.200515','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:16384:dea2738a4f43976e:e59eccc1339e8f4068ab3e72a643e3a8741ea1664d7465fc14f018454768b103c1682642c31fc365e5a2db94b1194aa8b0011a415e360c67389274986233b64c','toke','jupyterhub',NULL,'2026-12-01 03:53:33.223597',NULL,'2026-12-01 03:53:53.396969','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,6,'sha512:16384:3f126135c3044fcb:c9b49a5f4806b1d0cb50135153e62ee8a225622f651607b35d23a73426fea39ef20cb7f18cc49ee2738857be75f8212851ec43cd07c26bda3e8c415fa4ecbb40','toke','jupyterhub',NULL,'2026-12-01 03:53:33.283779',NULL,'2026-12-01 03:53:53.663572','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,7,'sha512:16384:9d278f1b8d8743e5:170c691a4daec5b518eb9d6b09d0207d5e44d0a386b191b98f674ef188f30cedd9d1fab76b34c965f611f48703d96468d56dd5cc868a1bdb6fe2f09d0a73dd06','toke','jupyterhub',NULL,'2026-12-01 03:53:39.529185',NULL,'2026-12-01 03:53:54.251684','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(1,NULL,8,'sha512:1:e143629c8205bc35:b040623a2491061548820c6d5e2bc8c33beacc4fc3c3bab3029378a3ccf8f0ad5c01228a087aa0210589c0f7d2bd2200e1b58b531981c4c96457ea1e3e77d922','d474','jupyterhub',NULL,'2026-12-01 03:53:44.724333',NULL,'2026-12-01 03:53:45.948853','command-line generated','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,9,'sha512:1:7a282c46940ad705:9d84bce83970c6396b80134e25e18118f766fade8762dfc850abf40bc784ab07fe50b75a810088db814fbe71ce2bdc3e9d6a12812fe9892141b9dda5a5c6ee0d','ff87','jupyterhub',NULL,'2026-12-01 03:53:46.879916',NULL,'2026-12-01 03:53:46.967955','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,10,'sha512:1:a373eee9054089fc:efbdc023ffdc4bb2cc01dd600b64e4152f6dcdb6971d3195970fe6c8a5eb420396213a9bd58ba3f0a43fc98f7986c7595c60db41311534ad421fae6347daa3f5','39b9','jupyterhub',NULL,'2026-12-01 03:53:46.915166',NULL,'2026-12-01 03:53:50.965566','für den Scanner','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,11,'sha512:1:c3d9eaf9737ce7ce:af06697c86bee6fdd8670c0c360d1272c94688ade898e3f053f9509c300dbc0600d432acd648897d4f9268feb057494c7d31b2c8a36fa4d311ea154fa800cd47','de64','jupyterhub',NULL,'2026-12-01 03:53:46.995134',NULL,'2026-12-01 03:53:51.113178','by herself','["inherit"]');
INSERT INTO "api_tokens" VALUES(7,NULL,12,'sha512:1:972730cb56b193d4:5d75e240638659725bebdb15c100c6b7708dc6f75f522a491c55acd2d06dd22079d1c063af2875bbeab534628a32c52e2c8a963b51eeb89f99ef051d157322ef','698d','jupyterhub',NULL,'2026-12-01 03:53:47.053372','2056-11-23 03:53:47.052860','2026-12-01 03:53:51.253790','a long time','["inherit"]');
INSERT INTO "api_tokens" VALUES(6,NULL,14,'sha512:1:bf57e6f42e72c637:7c76a984c0aff5993a8ac49e2d399ba0016877e37dc6349bd21235fb3acc6271216f5482933555c2337f8e6dd7c49230574f8b7266094549c7232d17a17a4b4c','e356','jupyterhub',NULL,'2026-12-01 03:53:47.125668',NULL,'2026-12-01 03:53:51.504326','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(8,NULL,15,'sha512:1:1101336b0b0b1e0f:321e024c2df1f320d2e1039460ac30414db493ecddad1ef77504fd1480ebfb77ddb194e0570719338e0791fabcf5843256fe3aa7c846ec20407ac36dd0b157d7','c225','jupyterhub',NULL,'2026-12-01 03:53:47.171357',NULL,'2026-12-01 03:53:51.593299','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(8,NULL,16,'sha512:1:61e3cfd00b791685:92330f3ad162f610f3b647feb2e52d36b4985fbfb5a38dc3746e170e30ce7dbb18bb82525275b555de7fd3ead87fd1973b31d806f64531148351155375f36c23','099b','jupyterhub',NULL,'2026-12-01 03:53:47.218552',NULL,'2026-12-01 03:53:51.733085','without',NULL);
INSERT INTO "api_tokens" VALUES(3,NULL,17,'sha512:1:286b55b2fea0aa04:bfd89741aa9061579b9e163164b58ffbc857739be17c59dae2aca809c9d0707b2d67b937ba6b1c5b9f6821ac37196de9a2f2083248b2ebaedbf2e115a3fa320e','8e83','jupyterhub',NULL,'2026-12-01 03:53:47.273270',NULL,'2026-12-01 03:53:51.884303','Requested via api by user ada','["servers!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,18,'sha512:1:9667295af9b45de4:b6d3750678d04f04e56779ec13b4a3582adb8ff4e4edf7ea582ba7099f07b72ce6f740985562be3eb194c8424518afb374c3dced8fc0feef317710ed3e6993b0','c8c8','jupyterhub',NULL,'2026-12-01 03:53:47.310445',NULL,'2026-12-01 03:53:52.024789','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,19,'sha512:1:6a3db58414a1e055:3915232761c1763712de460dbba6b87c4f23212d7ee6a70658521f794d78ec876de2e73e770cd631ad5140b2313c0d04a1e60bb0ec235fc0445e078a8037447a','2aea','jupyterhub',NULL,'2026-12-01 03:53:47.347545',NULL,'2026-12-01 03:53:52.149174','Requested via api by user ada','["self"]');
INSERT INTO "api_tokens" VALUES(1,NULL,20,'sha512:1:315bea823334687e:332489cb72e4bb009fc05ff8e6953e0b1e8e9b5f2ed3e71c5dfa67469f246f878a492113dd461d457678f9bb2a13f37ccceec6b98484873a182e4dea6c7a858f','9994','jupyterhub',NULL,'2026-12-01 03:53:47.392253',NULL,'2026-12-01 03:53:52.283239','Requested via api','["admin:users!user=carol"]');
INSERT INTO "api_tokens" VALUES(6,NULL,21,'sha512:1:4409e3e35366f580:456313c0cbe21d34fd6e0c03f9df5c4263a7d151982a5314e48482d7e7d89fceffa996271b36ce966b0587354a44e4e8cfb3423d2e49d8f4714c02218811fca3','4b97','jupyterhub',NULL,'2026-12-01 03:53:47.419644',NULL,'2026-12-01 03:53:52.395298','Requested via api by user ada','["admin:users", "list:users"]');
INSERT INTO "api_tokens" VALUES(5,NULL,22,'sha512:1:c01368c36ddaddd8:8db22f500c1e370b459a6b1a10c4a2581b50ead53c8ea8f4e37488cadd49221563b82a5cad4d4ed488bf187c492a1d3f4f8a5f9f6aaf70ccfbc8808c243b6b0e','4ff3','jupyterhub',NULL,'2026-12-01 03:53:47.459434',NULL,'2026-12-01 03:53:52.481709','Requested via api by user ada','["list:users!group=students"]');
INSERT INTO "api_tokens" VALUES(2,NULL,23,'sha512:1:5ede7b05f5e4c51b:640d4612a023be3515b7bedab7d895607216e648978e829be5b81ea6e09be0a5986a064c262d8cb7096869f15135dade6f708b88bad7f7a832846e739ca4f7fb','80dc','jupyterhub',NULL,'2026-12-01 03:53:47.505929',NULL,'2026-12-01 03:53:52.593884','Requested via api by user ada','["self", "read:users!group=students"]');
INSERT INTO "api_tokens" VALUES(3,NULL,24,'sha512:1:9f209066aa0ceec6:1512f3b55e44a238ac8c857aeb2ee0c9cb1fd27bec5c278ae6188eb4cf0c2dc6dfd7967b91c1db97af1dcec1877fce4d6ca610b4068bc63cd0a91a0b201ddeb5','2d56','jupyterhub',NULL,'2026-12-01 03:53:47.549689',NULL,'2026-12-01 03:53:52.679221','Server at /user/carol/','["users:activity!user", "access:servers!user"]');
INSERT INTO "api_tokens" VALUES(7,NULL,25,'sha512:1:05854c27dc4c20ae:ef0b1bfa6818e1695ff72078e12391503efe5690181d8005850276345556e16009176857dedd83292679034af77a32185942da6d262a89e4a49f9730d5afe69a','a693','jupyterhub',NULL,'2026-12-01 03:53:47.767263',NULL,'2026-12-01 03:53:52.748894','Server at /user/dave/MyLab.2/','["users:activity!user", "access:servers!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,26,'sha512:1:b1cc80c024089630:715893ac005cb34c2c0ccbc941767dfac4d7e8bd51665eeadfb0a73baac444238fd08e8762fc9faf6c797aff962d627d7a3324db93c48cee0b3d51dcf5452f51','nWq3','jupyterhub-user-carol','8b426caffac84d04906d8f6a1b17a76a','2026-12-01 03:53:48.763713','2026-12-15 03:53:48.763228','2026-12-01 03:53:52.822410','','["read:users:name!user", "read:users:groups!user", "access:servers!server=carol/"]');
INSERT INTO "api_tokens" VALUES(1,NULL,27,'sha512:1:b141ce6c54336f70:f9ba93dbdb7820234526148fbdf972b208882da0192a519ceac063b5e419e4c0c8d36f837020838f8364fad8790fd3e3baa7bc562103346313d9fa02e3625c99','xDMj','jupyterhub-user-carol','71b89fe50337476c84815f928abc0b6e','2026-12-01 03:53:48.859809','2026-12-15 03:53:48.859393','2026-12-01 03:53:52.918714','','["read:users:name!user", "read:users:groups!user", "access:servers!server=carol/"]');
INSERT INTO "api_tokens" VALUES(7,NULL,28,'sha512:1:377b78874f9989d7:e23c027a9b07d68b72d0bb8aed5567aed3fb4e1e0db49ecf0cacde6a03bf10fc2eaf90a7d655d1d6a2c5dab503f2f8a42d1a88123743f836299486aabbd459ab','PdjA','jupyterhub-user-dave-MyLab.2','ffdf1c6e8e7843f183256599eaaeba96','2026-12-01 03:53:48.940657','2026-12-15 03:53:48.936064','2026-12-01 03:53:53.009310','','["read:users:name!user", "access:servers!server=dave/MyLab.2", "read:users:groups!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,29,'sha512:1:bfdbf3375828a139:adef2f84c82d6e3f85cba8a8ec2c08359f2498481b617bda7660245e8e69841c6a47a407d027044757e68cab5de70598465a12d45d7b864d17d3d19d40499868','0Kmn','service-announce','8b426caffac84d04906d8f6a1b17a76a','2026-12-01 03:53:49.017409','2026-12-15 03:53:49.016909','2026-12-01 03:53:53.104953','','["read:users:name!user", "read:users:groups!user", "access:services!service=announce"]');
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id), 
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "group_role_map" VALUES(1,7);
CREATE TABLE groups (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	CONSTRAINT pk_groups PRIMARY KEY (id), 
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'students');
INSERT INTO "groups" VALUES(2,'Übung 7');
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL, 
	identifier VARCHAR(255), 
	description VARCHAR(1023), 
	secret VARCHAR(255), 
	redirect_uri VARCHAR(1023), 
	allowed_scopes TEXT, 
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id), 
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO "oauth_clients" VALUES(1,'jupyterhub','JupyterHub','','','[]');
INSERT INTO "oauth_clients" VALUES(2,'service-announce','JupyterHub service announce','sha512:16384:af8814c6ba3fe3f0:179730a56064a86cb7ea29018962a46d9458061d595ed864712db4cdd5b0a26aa6a7d91e5aef7295685dfd8d015acdd0f55a37812c62878849d84ea8f3de0a98','/services/announce/oauth_callback','["access:services!service=announce"]');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-carol','Server at /user/carol/','sha512:16384:03f53622fd42acfe:68fdee1c7e366f7b98fcc955a695b8da83966217eed742e931e6d460bc23b04baba82fd46d933154d6eafecc00084680370a6c2d760fa39aef29d1edb056c9fe','/user/carol/oauth_callback','["access:servers!server=carol/"]');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-dave-MyLab.2','Server at /user/dave/MyLab.2/','sha512:16384:6401541cb9eccbb7:6a8bf5120bf72b1852aaf04f653f2bb46456f18af590949c9681bda0bc8b89e9781724e853a7e95db327fe28d35a9818c1ad5664107d678c0eea48ea14b1dcde','/user/dave/MyLab.2/oauth_callback','["access:servers!server=dave/MyLab.2"]');
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	scopes TEXT, 
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id), 
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	description VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO "roles" VALUES(1,'user','Standard user privileges','["self"]');
INSERT INTO "roles" VALUES(2,'admin','Elevated privileges (can do anything)','["admin-ui", "admin:users", "admin:servers", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics"]');
INSERT INTO "roles" VALUES(3,'server','Post activity only','["users:activity!user", "access:servers!user"]');
INSERT INTO "roles" VALUES(4,'token','Token with same permissions as its owner','["inherit"]');
INSERT INTO "roles" VALUES(5,'keeping',NULL,'["list:users", "servers"]');
INSERT INTO "roles" VALUES(6,'grading','Sees the students','["list:users!group=students", "read:users!group=students"]');
INSERT INTO "roles" VALUES(7,'looking',NULL,'["read:users", "access:services!service=announce"]');
CREATE TABLE servers (
	id INTEGER NOT NULL, 
	proto VARCHAR(15), 
	ip VARCHAR(255), 
	port INTEGER, 
	base_url VARCHAR(255), 
	cookie_name VARCHAR(255), 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO "servers" VALUES(2,'http','127.0.0.1',33997,'/services/announce/','jupyterhub-services');
INSERT INTO "servers" VALUES(3,'http','127.0.0.1',40157,'/user/carol/','cookie');
INSERT INTO "servers" VALUES(4,'http','127.0.0.1',54097,'/user/dave/MyLab.2/','cookie');
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id), 
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "service_role_map" VALUES(3,5);
CREATE TABLE services (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'announce',0,2,NULL,'service-announce');
INSERT INTO "services" VALUES(2,'rotated',0,NULL,NULL,NULL);
INSERT INTO "services" VALUES(3,'keeper',0,NULL,NULL,NULL);
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,1,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(2,6,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,3,3,'{"pid": 23412}','','2026-12-01 03:53:47.636567','2026-12-01 03:53:47.636567','{"profile": "small"}','jupyterhub-user-carol');
INSERT INTO "spawners" VALUES(4,7,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(5,2,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(6,5,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(7,8,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(8,9,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(9,7,4,'{"pid": 23418}','MyLab.2','2026-12-01 03:53:47.841028','2026-12-01 03:53:47.841028','{"image": "gpu", "n": [1]}','jupyterhub-user-dave-MyLab.2');
INSERT INTO "spawners" VALUES(10,7,NULL,'{}','rest',NULL,'2026-12-01 03:53:48.614589','{"image": "cpu"}',NULL);
INSERT INTO "spawners" VALUES(11,4,NULL,NULL,'',NULL,NULL,NULL,NULL);
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL, 
	group_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id), 
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO "user_group_map" VALUES(2,1);
INSERT INTO "user_group_map" VALUES(3,1);
INSERT INTO "user_group_map" VALUES(7,2);
INSERT INTO "user_group_map" VALUES(9,2);
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "user_role_map" VALUES(1,2);
INSERT INTO "user_role_map" VALUES(1,1);
INSERT INTO "user_role_map" VALUES(2,1);
INSERT INTO "user_role_map" VALUES(3,1);
INSERT INTO "user_role_map" VALUES(5,1);
INSERT INTO "user_role_map" VALUES(5,6);
INSERT INTO "user_role_map" VALUES(6,1);
INSERT INTO "user_role_map" VALUES(7,1);
INSERT INTO "user_role_map" VALUES(8,1);
INSERT INTO "user_role_map" VALUES(9,1);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	created DATETIME, 
	last_activity DATETIME, 
	cookie_id VARCHAR(255) NOT NULL, 
	state TEXT, 
	encrypted_auth_state BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO "users" VALUES(1,'ada',1,'2026-12-01 03:53:32.683476','2026-12-01 03:53:45.948853','5bbba3e08d2b42f097eecfdec18d9037',NULL,X'6741414141414272446B544B576952514F4D6978564552755F423232573851674266364834352D3743345968574F356578377363784876656942635A37695938466D394B67357A306B64687A6A69695F39425255623839533067795075336A625359747551734D546766746142397163346C6F674E4A733D');
INSERT INTO "users" VALUES(2,'erin',0,'2026-12-01 03:53:32.744222','2026-12-01 03:53:52.593884','3884e07a58d84d76b5731e661377ebfd',NULL,NULL);
INSERT INTO "users" VALUES(3,'carol',0,'2026-12-01 03:53:32.779712','2026-12-01 03:53:47.636567','33e191535f184474b6d47a645b9edcca','{}',X'6741414141414272446B544B586F416C444D324C51335A477A43354442517643684A79646B4C4D476D626E487A425163584D7343694E665A4859656F597145716D76476279636F5A626C4D42316A7877706D316C6E6D5F396F586938796B7A5F796A396F63617077447458696A4B4A42616F4D736B74773D');
INSERT INTO "users" VALUES(4,'grace',0,'2026-12-01 03:53:33.133314','2026-12-01 03:53:53.200515','abc75e90e5b04fa699685278b312546b',NULL,NULL);
INSERT INTO "users" VALUES(5,'heidi',0,'2026-12-01 03:53:33.329304','2026-12-01 03:53:52.481709','797b09825aa644a7b7ebd1d64903b504',NULL,NULL);
INSERT INTO "users" VALUES(6,'bob',0,'2026-12-01 03:53:46.015743','2026-12-01 03:53:46.761803','706a9391a42941ed9ad383835e5e1376',NULL,X'6741414141414272446B544B6E6B356453595466556A3864336F6362677277547256617530786B58622D784165713430733255616B644670344646484E72575A36387978726770504A544176526853657167516B6176554B39774938334C624D68487950543855567063576A6F46786D656748306C61383D');
INSERT INTO "users" VALUES(7,'dave',0,'2026-12-01 03:53:46.131549','2026-12-01 03:53:48.614589','e1331000038e4ae7b8489f96f2e692d5','{}',X'6741414141414272446B544B53745F6D4B4A4B31336651774B6E54574D314858625630656845595A45755767783142746A34774E7049483231617A777A4C6D6265694557634665564F3163497970494F464A4E485A374C6363473431496F484732666A5349626832726E744A545F756D6B494B496378593D');
INSERT INTO "users" VALUES(8,'mallory',0,'2026-12-01 03:53:46.261882','2026-12-01 03:53:51.593299','9905f2f2473149b0bbc8671de2ff484a',NULL,NULL);
INSERT INTO "users" VALUES(9,'zoë',0,'2026-12-01 03:53:46.314771',NULL,'9b131e0c10214e6eaf8b81bbf03af1ee',NULL,NULL);
CREATE TABLE users_info (
	id INTEGER NOT NULL, 
	username VARCHAR(128) NOT NULL, 
	password BLOB NOT NULL, 
	is_authorized BOOLEAN, 
	login_email_sent BOOLEAN, 
	email VARCHAR(128), 
	has_2fa BOOLEAN, 
	otp_secret VARCHAR(16), 
	CONSTRAINT pk_users_info PRIMARY KEY (id)
);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
